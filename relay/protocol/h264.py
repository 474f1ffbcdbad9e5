"""H.264 below the access unit (ITU-T H.264): NAL units in their length-prefixed form, and both parameter sets."""

import re
from typing import NamedTuple

from relay.errors import ProtocolError
from relay.protocol.bits import BitReader, unescape

SLICE, IDR_SLICE, SEI, SPS, PPS = 1, 5, 6, 7, 8  # nal_unit_type, table 7-1

CHROMA = {1: (2, 2), 2: (2, 1)}  # chroma_format_idc: horizontal and vertical subsampling
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})  # profiles, §7.3.2.1.1
_EMULATION = re.compile(rb"\0\0(?=[\0-\3])")


class Sps(NamedTuple):
    """What a sequence parameter set says of sizes and of the slice headers that refer to it.

    ``width``/``height`` in pixels (cropped), unchecked. ``poc_type`` is pic_order_cnt_type, ``poc_bits`` the width
    of pic_order_cnt_lsb (type 0), ``poc_deltas`` whether slices carry delta_pic_order_cnt (type 1).
    """

    number: int
    width: int
    height: int
    separate_planes: bool
    frame_num_bits: int
    poc_type: int
    poc_bits: int
    poc_deltas: bool
    frames_only: bool


class Pps(NamedTuple):
    """What a picture parameter set says of the slice headers that refer to it, §7.3.2.2."""

    number: int
    sps: int
    cabac: bool
    bottom_poc: bool
    deblocking: bool
    redundant: bool


def nal_units(data: bytes, length_size: int) -> list[bytes]:
    """The NAL units of an access unit, empty ones apart (ISO/IEC 14496-15 §5.3.4.2). Raises ProtocolError."""
    units: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + length_size
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data) or start > len(data):
            raise ProtocolError("H.264 access unit is cut short")
        if at > start:
            units.append(data[start:at])
    return units


def header_units(header: bytes) -> list[bytes]:
    """The parameter sets in an AVCDecoderConfigurationRecord, ISO/IEC 14496-15 §5.3.3.1.2. Raises ProtocolError."""
    units: list[bytes] = []
    at = 5
    for mask in (0x1F, 0xFF):
        count = int.from_bytes(header[at : at + 1], "big") & mask
        at += 1
        for _ in range(count):
            size = int.from_bytes(header[at : at + 2], "big")
            units.append(header[at + 2 : at + 2 + size])
            at += 2 + size
            if at > len(header) or not size:
                raise ProtocolError("H.264 sequence header is cut short")
    return units


def read_sps(nal: bytes) -> Sps:
    """A sequence parameter set, §7.3.2.1.1. Raises ProtocolError."""
    bits = BitReader(unescape(nal[1:]))
    profile = bits.read(8)
    bits.skip(16)
    number = bits.ue()
    chroma = 1
    separate = 0
    if profile in _WITH_CHROMA:
        chroma = bits.ue()
        if chroma == 3:
            separate = bits.read(1)
        bits.ue()
        bits.ue()
        bits.skip(1)
        if bits.read(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.read(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    frame_num_bits = bits.ue() + 4
    poc_type = bits.ue()
    poc_bits = 0
    poc_deltas = False
    if poc_type == 0:
        poc_bits = bits.ue() + 4
    elif poc_type == 1:
        poc_deltas = not bits.read(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    bits.skip(1)
    width = (bits.ue() + 1) * 16
    map_units = bits.ue() + 1
    frames_only = bits.read(1)
    height = map_units * 16 * (2 - frames_only)
    if not frames_only:
        bits.skip(1)
    bits.skip(1)
    if bits.read(1):
        across, down = (1, 1) if separate else CHROMA.get(chroma, (1, 1))
        down *= 2 - frames_only
        width -= (bits.ue() + bits.ue()) * across
        height -= (bits.ue() + bits.ue()) * down
    return Sps(number, width, height, bool(separate), frame_num_bits, poc_type, poc_bits, poc_deltas, bool(frames_only))


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def read_pps(nal: bytes) -> Pps:
    """A picture parameter set up to what slice headers depend on. Raises ProtocolError, also for slice groups."""
    bits = BitReader(unescape(nal[1:]))
    number, sps = bits.ue(), bits.ue()
    cabac, bottom_poc = bits.read(1), bits.read(1)
    if bits.ue():
        raise ProtocolError("H.264 slice groups are not supported")
    bits.ue()
    bits.ue()
    bits.skip(1 + 2)
    for _ in range(3):
        bits.se()
    deblocking = bits.read(1)
    bits.skip(1)
    return Pps(number, sps, bool(cabac), bool(bottom_poc), bool(deblocking), bool(bits.read(1)))


def escape(rbsp: bytes) -> bytes:
    """``rbsp``, which does not end in zeros, with emulation prevention bytes (§7.4.1.1)."""
    return _EMULATION.sub(b"\0\0\x03", rbsp)
