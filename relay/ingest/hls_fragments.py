"""Fragments: a CMAF track uploaded as one endless body, cut into its fragments as they come (DASH-IF live ingest)."""

import struct
from typing import NamedTuple

from relay.errors import LimitError, ProtocolError

_HEAD = 8


class Fragment(NamedTuple):
    """One ``moof`` with its ``mdat`` and what came before them; ``number`` is its sequence number."""

    number: int
    data: bytes


class FragmentCutter:
    """Takes a body in pieces of any size. ``init``: the boxes up to ``moov``, once it is there.

    ``is_ended``: the encoder closed the track. Raises ProtocolError where the boxes make no sense, LimitError where a
    fragment is larger than ``most_bytes``.
    """

    def __init__(self, most_bytes: int) -> None:
        self.init = b""
        self.is_ended = False
        self._most = most_bytes
        self._buffer = bytearray()
        self._at = 0  # start of the first box not looked at
        self._number = -1

    def feed(self, data: bytes) -> list[Fragment]:
        """The fragments that ``data`` completes."""
        self._buffer += data
        buffer = self._buffer
        found: list[Fragment] = []
        while len(buffer) - self._at >= _HEAD:
            size, kind = struct.unpack_from("!I4s", buffer, self._at)
            head = _HEAD
            if size == 1 and len(buffer) - self._at >= 16:
                size, head = struct.unpack_from("!Q", buffer, self._at + _HEAD)[0], 16
            elif size == 1:
                break
            if size < head:
                raise ProtocolError(f"MP4 box {kind!r} of {size} bytes is not possible in a stream")
            if self._at + size > self._most:
                raise LimitError("hls_segment", f"a fragment of more than {self._most} bytes")
            if len(buffer) - self._at < size:
                break
            fragment = self._box(kind, head, size)
            if fragment is not None:
                found.append(fragment)
        return found

    def _box(self, kind: bytes, head: int, size: int) -> Fragment | None:
        """Pass the whole box at ``_at``."""
        buffer, end = self._buffer, self._at + size
        if kind == b"moof":
            self._number = _sequence_number(bytes(buffer[self._at + head : end]))
        elif kind == b"mfra":
            self.is_ended = True
        self._at = end
        if kind == b"moov" and not self.init:
            self.init = self._taken()
        elif kind == b"mdat" and self._number >= 0:
            fragment = Fragment(self._number, self._taken())
            self._number = -1
            return fragment
        return None

    def _taken(self) -> bytes:
        taken = bytes(self._buffer[: self._at])
        del self._buffer[: self._at]
        self._at = 0
        return taken


def _sequence_number(moof: bytes) -> int:
    """Of ``mfhd``, which is the first box in a ``moof`` (ISO/IEC 14496-12 §8.8.5)."""
    if len(moof) < 16 or moof[4:8] != b"mfhd":
        raise ProtocolError("a movie fragment without its header")
    return int.from_bytes(moof[12:16], "big")
