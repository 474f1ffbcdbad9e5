"""AMF0: a table both ways, round trips, limits at their edges, nothing but our own errors."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import LimitError, ProtocolError
from relay.protocol.amf0 import UNDEFINED, AmfDate, AmfLimits, AmfValue, EcmaArray, decode, encode, number
from tests.protocol.captures import SESSIONS, chunks_of

TABLE: list[tuple[str, str, AmfValue]] = [
    ("number", "00 3ff0000000000000", 1.0),
    ("true", "01 01", True),
    ("false", "01 00", False),
    ("string", "02 0003 616263", "abc"),
    ("object", "03 0001 61 05 0000 09", {"a": None}),
    ("null", "05", None),
    ("undefined", "06", UNDEFINED),
    ("ecma array", "08 00000001 0001 61 01 01 0000 09", EcmaArray({"a": True})),
    ("strict array", "0a 00000002 05 01 01", [None, True]),
    ("date", "0b 4070000000000000 003c", AmfDate(256.0, 60)),
]


@pytest.mark.parametrize(("name", "wire", "value"), TABLE, ids=[row[0] for row in TABLE])
def test_table_both_ways(name: str, wire: str, value: AmfValue) -> None:
    assert encode(value) == bytes.fromhex(wire)
    assert decode(bytes.fromhex(wire)) == [value]


@pytest.mark.parametrize(
    ("name", "wire", "value"),
    [
        ("long string", "0c 00000003 616263", "abc"),
        ("xml", "0f 00000003 3c612f", "<a/"),
        ("unsupported", "0d", None),
        ("typed object", "10 0001 43 0001 61 05 0000 09", {"a": None}),
        ("ecma array without its end, as some encoders leave it", "08 00000001 0001 61 05", {"a": None}),
        ("ecma array cut before its marker", "08 00000001 0001 61 05 0000", {"a": None}),
    ],
)
def test_also_understood(name: str, wire: str, value: AmfValue) -> None:
    assert decode(bytes.fromhex(wire)) == [value]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | texts
    | st.just(UNDEFINED)
    | st.builds(AmfDate, st.floats(allow_nan=False)),
    lambda inner: st.lists(inner, max_size=5)
    | st.dictionaries(texts.filter(bool), inner, max_size=5)
    | st.dictionaries(texts.filter(bool), inner, max_size=5).map(EcmaArray),
    max_leaves=20,
)  # fmt: skip


@given(st.lists(values, max_size=4))
def test_round_trip(sent: list[AmfValue]) -> None:
    assert decode(encode(*sent), AmfLimits(depth=64)) == sent


def test_strings_over_64_kib_become_long_strings() -> None:
    text = "x" * 70_000
    assert decode(encode(text), AmfLimits(string_bytes=100_000)) == [text]


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes) -> None:
    try:
        decode(data)
    except ProtocolError:
        return


@given(st.lists(values, min_size=1, max_size=3), st.integers(0, 300))
def test_a_value_cut_anywhere_is_an_error_or_a_shorter_list(sent: list[AmfValue], cut: int) -> None:
    data = encode(*sent)
    try:
        assert len(decode(data[:cut], AmfLimits(depth=64))) <= len(sent)
    except ProtocolError:
        assert cut < len(data)


def test_limits_hold_at_their_edges() -> None:
    limits = AmfLimits(depth=3, nodes=5, string_bytes=4)
    nested: AmfValue = None
    for _ in range(3):
        nested = [nested]
    assert decode(encode(nested), limits) == [nested]
    for limit, value in (("amf_depth", [nested]), ("amf_string", "abcde"), ("amf_nodes", [None] * 5)):
        with pytest.raises(LimitError) as caught:
            decode(encode(value), limits)
        assert caught.value.limit == limit
    assert decode(encode([None] * 4), limits) == [[None] * 4]


@pytest.mark.parametrize("wire", ["0a ffffffff", "08 ffffffff", "0c ffffffff 61", "07 0000", "11 06", "0e", "ff"])
def test_announced_counts_and_unknown_kinds_cost_nothing(wire: str) -> None:
    with pytest.raises(ProtocolError):
        decode(bytes.fromhex(wire))


def test_numbers_a_stranger_filled_in() -> None:
    assert number(3.5) == 3.5
    for value in (math.nan, math.inf, True, "3", None):
        assert number(value, 7.0) == 7.0


def test_member_names_have_a_limit() -> None:
    with pytest.raises(ValueError, match="65535"):
        encode({"x" * 70_000: None})


@pytest.mark.parametrize("name", SESSIONS)
def test_a_real_encoders_connect_decodes_and_encodes_to_the_same_values(name: str) -> None:
    data = chunks_of(name)
    start = data.index(b"\x02\x00\x07connect")
    end = data.index(struct.pack(">HB", 0, 9), start) + 3
    joined = data[start:end].replace(b"\xc3", b"", 3)  # a command over 128 bytes has chunk headers in it
    values = decode(joined)
    assert values[0] == "connect"
    assert isinstance(values[2], dict)
    assert decode(encode(*values)) == values
