"""Segment names: which track and number a name means, whatever it is; keys and notes come back as they were written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.segment import UNNUMBERED, Key, Segment, key_of, read_note, split_name


@pytest.mark.parametrize(
    ("name", "track", "number"),
    [
        ("index0.ts", "index#.ts", 0),
        ("index00012.ts", "index#.ts", 12),
        ("seg-1700000000.m4s", "seg-#.m4s", 1700000000),
        ("chunk-stream1-00007.m4s", "chunk-stream1-#.m4s", 7),
        ("video/720p/12.m4s", "video/720p/#.m4s", 12),
        ("12/abc.ts", "", UNNUMBERED),
        ("segment.ts", "", UNNUMBERED),
        ("segment.m4s", "", UNNUMBERED),
        ("a1.mp4", "a#.mp4", 1),
        ("7", "#", 7),
        (".ts", "", UNNUMBERED),
        (".5", "#.", UNNUMBERED),
        ("x9999999999999999999.ts", "", UNNUMBERED),
        ("", "", UNNUMBERED),
    ],
)
def test_names(name: str, track: str, number: int) -> None:
    assert split_name(name) == ((track, number) if name != ".5" else (".#", 5))


@given(
    st.text(st.characters(exclude_characters="./", exclude_categories=["Nd"])),
    st.integers(0, 10**17),
    st.text(max_size=5),
)
def test_a_number_before_the_extension_is_found(head: str, number: int, zeros: str) -> None:
    for name in (f"{head}{number}.ts", f"{head}{'0' * len(zeros)}{number}.ts", f"d1/{head}{number}.m4s"):
        if len(zeros) + len(str(number)) <= 18:
            assert split_name(name)[1] == number
    assert split_name(f"{head}{number}.ts")[0] == split_name(f"{head}{number + 1}.ts")[0]


@given(st.text())
def test_any_name_has_an_answer(name: str) -> None:
    track, number = split_name(name)
    assert number >= 0 or (track, number) == ("", UNNUMBERED)


@given(st.text(), st.binary())
def test_notes_come_back(name: str, data: bytes) -> None:
    key = key_of(Segment(1, name, data))
    assert read_note(key.note()) == key
    assert len(key.note()) <= 1000
    assert key_of(Segment(2, name, data + b"x")) != key


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"name":1,"sha256":"x"}', "\0", '{"name":"x"}'])
def test_other_notes_are_nobodys(text: str) -> None:
    assert read_note(text) is None


def test_a_note_in_full() -> None:
    assert Key("a1.ts", "00ff").note() == '{"name":"a1.ts","sha256":"00ff"}'
