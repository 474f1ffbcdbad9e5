"""Control messages and aggregates: tables both ways, round trips, nothing but our own errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import LimitError, ProtocolError
from relay.protocol.rtmp.chunk import Message
from relay.protocol.rtmp.message import (
    ControlEvent,
    UserControl,
    peer_bandwidth,
    read_u32,
    read_user_control,
    split_aggregate,
    u32,
    user_control,
)


@pytest.mark.parametrize(
    ("event", "value", "wire"),
    [(UserControl.STREAM_BEGIN, 1, "0000 00000001"), (UserControl.PING_RESPONSE, 0xFFFFFFFF, "0007 ffffffff")],
)
def test_user_control_both_ways(event: UserControl, value: int, wire: str) -> None:
    assert user_control(event, value) == bytes.fromhex(wire)
    assert read_user_control(bytes.fromhex(wire)) == ControlEvent(event, value)


def test_numbers_wrap_and_short_ones_are_errors() -> None:
    assert u32(2**32 + 5) == b"\0\0\0\x05"
    assert read_u32(b"\0\0\0\x05", "x") == 5
    with pytest.raises(ProtocolError, match="Window"):
        read_u32(b"\0\0", "Window")
    with pytest.raises(ProtocolError):
        read_user_control(b"\0")
    assert read_user_control(b"\0\x03") == ControlEvent(3, 0)
    assert peer_bandwidth(5, 1) == b"\0\0\0\x05\x01"


def packed(parts: list[tuple[int, int, bytes]]) -> bytes:
    """Messages as an aggregate's payload (§7.1.6)."""
    out = b""
    for type_id, timestamp, payload in parts:
        stamp = timestamp & 0xFFFFFFFF
        head = bytes((type_id,)) + len(payload).to_bytes(3, "big") + (stamp & 0xFFFFFF).to_bytes(3, "big")
        out += head + bytes((stamp >> 24, 0, 0, 0)) + payload + (11 + len(payload)).to_bytes(4, "big")
    return out


@given(
    st.lists(st.tuples(st.sampled_from([8, 9]), st.integers(0, 2**31), st.binary(max_size=20)), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_an_aggregate_gives_its_messages_shifted_to_its_own_time(
    parts: list[tuple[int, int, bytes]], start: int
) -> None:
    got = split_aggregate(Message(22, 1, start, packed(parts), 99))
    shift = start - parts[0][1]
    assert [(item.type_id, item.payload) for item in got] == [(type_id, payload) for type_id, _, payload in parts]
    assert [item.timestamp for item in got] == [(time + shift) % 2**32 for _, time, _ in parts]
    assert {(item.stream_id, item.end) for item in got} == {(1, 99)}


def test_an_aggregate_of_many_tiny_messages_is_refused() -> None:
    """A message of 4 MiB would be 350,000 of them, and hold up everybody for a second."""
    few = split_aggregate(Message(22, 1, 0, packed([(8, 0, b"")] * 64), 0))
    assert len(few) == 64
    sound = split_aggregate(Message(22, 1, 0, packed([(8, 0, bytes(60))] * 2000), 0))
    assert len(sound) == 2000
    with pytest.raises(LimitError) as caught:
        split_aggregate(Message(22, 1, 0, packed([(8, 0, b"")] * 2000), 0))
    assert caught.value.limit == "aggregate_parts"


@given(st.binary(max_size=80))
def test_arbitrary_aggregates_raise_nothing_but_protocol_errors(payload: bytes) -> None:
    try:
        split_aggregate(Message(22, 1, 0, payload, 0))
    except ProtocolError:
        return
