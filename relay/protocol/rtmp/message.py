"""RTMP control messages and aggregates (RTMP 1.0 §5.4, §7.1): message types and their payloads."""

from enum import IntEnum
from typing import NamedTuple

from relay.errors import LimitError, ProtocolError
from relay.protocol.rtmp.chunk import Message

# Aggregates are for fewer headers, and carry frames: parts this small on average carry none.
_FEW_PARTS, _PART_BYTES = 64, 48


class MessageType(IntEnum):
    """Message type ids, §5.4 and §7.1."""

    SET_CHUNK_SIZE = 1
    ABORT = 2
    ACKNOWLEDGEMENT = 3
    USER_CONTROL = 4
    WINDOW_ACK_SIZE = 5
    SET_PEER_BANDWIDTH = 6
    AUDIO = 8
    VIDEO = 9
    DATA_AMF3 = 15
    SHARED_OBJECT_AMF3 = 16
    COMMAND_AMF3 = 17
    DATA = 18
    SHARED_OBJECT = 19
    COMMAND = 20
    AGGREGATE = 22


class UserControl(IntEnum):
    """Event types of a user control message, §7.1.7."""

    STREAM_BEGIN = 0
    STREAM_EOF = 1
    STREAM_DRY = 2
    SET_BUFFER_LENGTH = 3
    STREAM_IS_RECORDED = 4
    PING_REQUEST = 6
    PING_RESPONSE = 7


class ControlEvent(NamedTuple):
    """A user control event: its type number and its first 32-bit argument (stream id, or time in ms)."""

    event: int
    value: int


def read_u32(payload: bytes, what: str) -> int:
    """The 32-bit number a control message consists of. Raises ProtocolError when it is shorter."""
    if len(payload) < 4:
        raise ProtocolError(f"{what} has {len(payload)} bytes instead of 4")
    return int.from_bytes(payload[:4], "big")


def u32(value: int) -> bytes:
    """``value`` modulo 2^32 as a control message's payload."""
    return (value & 0xFFFFFFFF).to_bytes(4, "big")


def peer_bandwidth(size: int, limit_type: int = 2) -> bytes:
    """Set Peer Bandwidth (§5.4.5): bytes, and 0 hard, 1 soft, 2 dynamic."""
    return u32(size) + bytes((limit_type,))


def user_control(event: UserControl, value: int) -> bytes:
    """A user control event with one 32-bit argument (§7.1.7)."""
    return int(event).to_bytes(2, "big") + u32(value)


def read_user_control(payload: bytes) -> ControlEvent:
    """A user control event. Raises ProtocolError when it has no event type; a missing argument reads as 0."""
    if len(payload) < 2:
        raise ProtocolError("user control message without an event type")
    return ControlEvent(int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:6].ljust(4, b"\0"), "big"))


def split_aggregate(message: Message) -> list[Message]:
    """The messages inside an aggregate (§7.1.6), times shifted so that the first has the aggregate's own.

    Layout of each: type (1 byte), size (3), timestamp (3, then its upper 8 bits), stream id (3), payload,
    back pointer (4). Raises ProtocolError when a size leads outside, LimitError where they are many and tiny.
    """
    payload, at = message.payload, 0
    out: list[Message] = []
    shift = 0
    most = _FEW_PARTS + len(payload) // _PART_BYTES
    while at < len(payload):
        if len(out) >= most:
            raise LimitError("aggregate_parts", f"an aggregate of {len(payload)} bytes has more than {most} messages")
        if len(payload) - at < 11:
            raise ProtocolError("aggregate message with a torn header")
        type_id = payload[at]
        size = int.from_bytes(payload[at + 1 : at + 4], "big")
        timestamp = int.from_bytes(payload[at + 4 : at + 7], "big") | payload[at + 7] << 24
        at += 11
        if len(payload) - at < size:
            raise ProtocolError("aggregate message whose part is longer than itself")
        if not out:
            shift = message.timestamp - timestamp
        moved = (timestamp + shift) & 0xFFFFFFFF
        out.append(Message(type_id, message.stream_id, moved, payload[at : at + size], message.end))
        at += size + 4  # the back pointer repeats the size; encoders fill it in variously
    return out
