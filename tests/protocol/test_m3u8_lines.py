"""The pieces of playlist lines: attribute lists, URIs, numbers, byte ranges, keys; what is out of bounds is told."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.protocol.m3u8_lines import (
    LONGEST_S,
    MOST_OFFSET,
    URI_CHARACTERS,
    ByteRange,
    attributes,
    integer,
    key_of,
    length_and_offset,
    placed,
    seconds,
    uri_of,
)

NAMES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", min_size=1, max_size=64)
VALUES = st.text(st.characters(blacklist_characters='"', blacklist_categories=("Cs",)), max_size=40).map(str.strip)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_quoted_attributes_come_back_as_written(written: dict[str, str]) -> None:
    line = "#EXT-X-ANY:" + ",".join(f'{name}="{value}"' for name, value in written.items())
    assert attributes(line) == written


def test_attributes_bare_quoted_spaced_and_none() -> None:
    assert attributes('#EXT-X-PART:DURATION=0.5, URI="a,b=c.mp4" ,INDEPENDENT=YES') == {
        "DURATION": "0.5",
        "URI": "a,b=c.mp4",
        "INDEPENDENT": "YES",
    }
    assert attributes("#EXT-X-ENDLIST") == {}
    with pytest.raises(ProtocolError, match="EXT-X-KEY has attributes that cannot be read"):
        attributes('#EXT-X-KEY:METHOD=AES-128,URI="unclosed')


@pytest.mark.parametrize(
    "text", ["a.ts", "../b/c.m4s?x=1#y", "https://example.org/a", "HTTP://example.org/", "//host/a"]
)
def test_uris_that_can_be_fetched(text: str) -> None:
    assert uri_of(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty or endless"),
        ("a" * (URI_CHARACTERS + 1), "empty or endless"),
        ("a b.ts", "characters that no URI has"),
        ("a\\b", "characters that no URI has"),
        ("{$name}.ts", "characters that no URI has"),
        ("file:///etc/passwd", "a file URI; only http and https"),
        ("data:video/mp4,", "a data URI; only http and https"),
    ],
)
def test_uris_that_cannot(text: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        uri_of(text)


def test_numbers_and_durations_have_bounds() -> None:
    assert integer("0", "N", 9) == 0
    assert integer("9", "N", 9) == 9
    assert seconds("4", "T") == 4.0
    assert seconds("0.33334", "T") == pytest.approx(0.33334)
    assert seconds(str(int(LONGEST_S)), "T") == LONGEST_S
    for text in ("10", "-1", "", "1.0", "１", "9" * 20):
        with pytest.raises(ProtocolError, match="N is no number in range"):
            integer(text, "N", 9)
    for text in ("-1", "", ".5", "1e3", "nan", "inf", "86401"):
        with pytest.raises(ProtocolError, match="T is no duration in seconds"):
            seconds(text, "T")


def test_a_byte_range_goes_on_where_the_one_before_it_ended() -> None:
    first = placed("a.mp4", length_and_offset("100@20", "R"), ("", 0))
    assert first == ByteRange(20, 100)
    assert placed("a.mp4", length_and_offset("5", "R"), ("a.mp4", first.offset + first.length)) == ByteRange(120, 5)
    with pytest.raises(ProtocolError, match="no range of the same URI is before it"):
        placed("b.mp4", (5, None), ("a.mp4", 120))
    with pytest.raises(ProtocolError, match="out of range"):
        placed("a.mp4", (2, MOST_OFFSET - 1), ("", 0))
    for text in ("", "0", "0@5", "-1", "1@", "5@-1", "9" * 17):
        with pytest.raises(ProtocolError, match="R has no byte range LENGTH@OFFSET"):
            length_and_offset(text, "R")


def test_keys_of_the_one_method_that_can_be_pulled() -> None:
    assert key_of({"METHOD": "NONE"}) is None
    assert key_of({"METHOD": "AES-128", "URI": "k"}) == ("k", None)
    assert key_of({"METHOD": "AES-128", "URI": "k", "IV": "0x1"}) == ("k", bytes(15) + b"\x01")
    for found, words in (
        ({}, "encrypted in a way that cannot be pulled"),
        ({"METHOD": "SAMPLE-AES", "URI": "k"}, "encrypted in a way that cannot be pulled"),
        ({"METHOD": "AES-128", "URI": "k", "KEYFORMAT": "com.example"}, "encrypted in a way that cannot be pulled"),
        ({"METHOD": "AES-128"}, "EXT-X-KEY has no URI"),
        ({"METHOD": "AES-128", "URI": "k", "IV": "0x" + "1" * 33}, "an IV that is no number of 128 bits"),
        ({"METHOD": "AES-128", "URI": "file:///k"}, "a file URI"),
    ):
        with pytest.raises(ProtocolError, match=words):
            key_of(found)


@given(
    st.text(max_size=200), st.dictionaries(st.sampled_from(["METHOD", "URI", "IV", "KEYFORMAT"]), st.text(max_size=50))
)
def test_any_text_gives_a_value_or_a_protocol_error(text: str, found: dict[str, str]) -> None:
    for read in (
        lambda: attributes(text),
        lambda: uri_of(text),
        lambda: integer(text, "N", 1 << 62),
        lambda: seconds(text, "T"),
        lambda: length_and_offset(text, "R"),
        lambda: key_of(found),
    ):
        with contextlib.suppress(ProtocolError):
            read()
