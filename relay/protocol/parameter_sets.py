"""Parameter sets in H.264 and HEVC sequence headers, without the zero bytes that MPEG-TS may leave behind them."""

from collections.abc import Iterator

from relay.errors import ProtocolError
from relay.media import Codec


def without_padding(codec: Codec, header: bytes) -> bytes:
    """``header`` whose NAL units end where their payload does: the same however it was cut out of a byte stream.

    trailing_zero_8bits (ITU-T H.264 and H.265, Annex B) belongs to no NAL unit. Other codecs' headers come back as
    they are. Raises ProtocolError where the header is cut short.
    """
    if codec is Codec.H264:
        return b"".join(_avc(header))
    return b"".join(_hevc(header)) if codec is Codec.HEVC else header


def _avc(header: bytes) -> Iterator[bytes]:
    """ISO/IEC 14496-15 §5.3.3.1.2."""
    at = 5
    yield header[:at]
    for mask in (0x1F, 0xFF):
        counted = header[at : at + 1]
        if not counted:
            raise ProtocolError("H.264 sequence header is cut short")
        yield counted
        at += 1
        for _ in range(counted[0] & mask):
            unit, at = _unit(header, at)
            yield unit
    yield header[at:]


def _hevc(header: bytes) -> Iterator[bytes]:
    """ISO/IEC 14496-15 §8.3.3.1.2."""
    at = 23
    yield header[:at]
    for _ in range(header[22] if len(header) > 22 else 0):
        head = header[at : at + 3]
        if len(head) < 3:
            raise ProtocolError("HEVC sequence header is cut short")
        yield head
        at += 3
        for _ in range(int.from_bytes(head[1:], "big")):
            unit, at = _unit(header, at)
            yield unit
    yield header[at:]


def _unit(header: bytes, at: int) -> tuple[bytes, int]:
    """The NAL unit at ``at`` with its length before it, and where the next begins."""
    size = int.from_bytes(header[at : at + 2], "big")
    end = at + 2 + size
    if end > len(header) or at + 2 > len(header):
        raise ProtocolError("sequence header is cut short")
    unit = header[at + 2 : end].rstrip(b"\0")
    return len(unit).to_bytes(2, "big") + unit, end
