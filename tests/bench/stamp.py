"""What each packet of a measurement carries, inside its media: its channel, number, time of sending and checksum.

In H.264 it is an SEI message of user data, in AAC a data stream element: any server carries it, any player skips it.
"""

import struct
import zlib
from typing import NamedTuple

VIDEO, AUDIO = 9, 8
_UUID = b"fieldrelay-bench"
_FORMAT = b"%04x%08x%016x%08x"  # text: it needs no emulation prevention
_BYTES = 36
_USER = len(_UUID) + _BYTES
_SEI = bytes((6, 5, _USER)) + _UUID + b"0" * _BYTES + b"\x80"
_DATA_ELEMENT = bytes((0x81, _USER)) + _UUID + b"0" * _BYTES  # ISO/IEC 14496-3 §4.4.2.1: id 4, tag 0, byte-aligned
_PREFIX = {VIDEO: struct.pack(">I", len(_SEI)) + _SEI, AUDIO: _DATA_ELEMENT}
_HEAD_BYTES = {VIDEO: 5, AUDIO: 2}  # of an FLV body, before its media
OFFSET = {VIDEO: 5 + 4 + 3 + len(_UUID), AUDIO: 2 + 2 + len(_UUID)}
"""Where in a body, by its message type, the stamp is."""
_REST = {type_id: _HEAD_BYTES[type_id] + len(_PREFIX[type_id]) for type_id in (VIDEO, AUDIO)}


class Stamp(NamedTuple):
    """``number`` counts the packets of one channel from 0; ``sent_ns``: the monotonic clock of the machine."""

    channel: int
    number: int
    sent_ns: int
    checksum: int


def with_room(type_id: int, body: bytes) -> bytes:
    """An H.264 or AAC body of FLV with room for a stamp."""
    at = _HEAD_BYTES[type_id]
    return body[:at] + _PREFIX[type_id] + body[at:]


def checksum(type_id: int, body: bytes) -> int:
    """Of the media behind the stamp."""
    return zlib.crc32(memoryview(body)[_REST[type_id] :])


def write(into: bytearray, at: int, stamp: Stamp) -> None:
    into[at : at + _BYTES] = _FORMAT % stamp


def read(type_id: int, body: bytes) -> Stamp | None:
    """The stamp of a body, None where it has none (a sequence header)."""
    at = OFFSET[type_id]
    if body[at - len(_UUID) : at] != _UUID:
        return None
    return Stamp(
        int(body[at : at + 4], 16),
        int(body[at + 4 : at + 12], 16),
        int(body[at + 12 : at + 28], 16),
        int(body[at + 28 : at + 36], 16),
    )
