"""Picture sizes and codec strings out of video sequence headers and keyframes: H.264, HEVC, AV1, VP9, VP8."""

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.protocol.bits import BitReader, unescape
from relay.protocol.h264 import CHROMA, read_sps


def avc(header: bytes) -> Track:
    """AVCDecoderConfigurationRecord, ISO/IEC 14496-15 §5.3.3.1.2, and the SPS in it, H.264 §7.3.2.1.1."""
    if len(header) < 7 or header[0] != 1:
        raise ProtocolError("H.264 sequence header is not an AVCDecoderConfigurationRecord")
    if not header[5] & 0x1F:
        raise ProtocolError("H.264 sequence header without a sequence parameter set")
    size = int.from_bytes(header[6:8], "big")
    sps = header[8 : 8 + size]
    if len(sps) < size or size < 4:
        raise ProtocolError("H.264 sequence header is cut short")
    found = read_sps(sps)
    width, height = _sane(found.width, found.height)
    return Track(codec=Codec.H264, header=header, width=width, height=height, codec_string=f"avc1.{sps[1:4].hex()}")


def _sane(width: int, height: int) -> tuple[int, int]:
    if not 0 < width <= 16384 or not 0 < height <= 16384:
        raise ProtocolError(f"a picture of {width} by {height} pixels is not possible")
    return width, height


def hevc(header: bytes) -> Track:
    """HEVCDecoderConfigurationRecord, ISO/IEC 14496-15 §8.3.3.1.2, and the SPS in it, H.265 §7.3.2.2."""
    if len(header) < 23:
        raise ProtocolError("HEVC sequence header is cut short")
    width = height = 0
    at = 23
    for _ in range(header[22]):
        if len(header) < at + 3:
            raise ProtocolError("HEVC sequence header is cut short")
        nal_type, count = header[at] & 0x3F, int.from_bytes(header[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(header[at : at + 2], "big")
            nal = header[at + 2 : at + 2 + size]
            if len(nal) < size or size < 2:
                raise ProtocolError("HEVC sequence header is cut short")
            at += 2 + size
            if nal_type == 33 and not width:
                width, height = _hevc_size(nal)
    profile_byte, compatibility = header[1], int.from_bytes(header[2:6], "big")
    flipped = int(f"{compatibility:032b}"[::-1], 2)
    constraints = header[6:12].rstrip(b"\0")
    # RFC 6381 as ISO/IEC 14496-15 Annex E spells it: profile space, profile, compatibility, tier and level, constraints
    parts = [
        "hvc1",
        f"{('', 'A', 'B', 'C')[profile_byte >> 6]}{profile_byte & 0x1F}",
        f"{flipped:X}",
        f"{'H' if profile_byte & 0x20 else 'L'}{header[12]}",
        *(f"{byte:X}" for byte in constraints),
    ]
    return Track(codec=Codec.HEVC, header=header, width=width, height=height, codec_string=".".join(parts))


def _hevc_size(sps: bytes) -> tuple[int, int]:
    bits = BitReader(unescape(sps[2:]))
    bits.skip(4)
    layers = bits.read(3)
    bits.skip(1 + 88 + 8)
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.skip(2 * (8 - layers))
    for profile, level in present:
        bits.skip(88 * profile + 8 * level)
    bits.ue()
    chroma = bits.ue()
    separate = bits.read(1) if chroma == 3 else 0
    width, height = bits.ue(), bits.ue()
    if bits.read(1):
        across, down = (1, 1) if separate else CHROMA.get(chroma, (1, 1))
        width -= (bits.ue() + bits.ue()) * across
        height -= (bits.ue() + bits.ue()) * down
    return _sane(width, height)


def av1(header: bytes) -> Track:
    """AV1CodecConfigurationRecord, AV1 in ISOBMFF §2.3.3, and the sequence header OBU in it, AV1 §5.5."""
    if len(header) < 4 or header[0] != 0x81:
        raise ProtocolError("AV1 sequence header is not an AV1CodecConfigurationRecord")
    profile, level, tier = header[1] >> 5, header[1] & 0x1F, header[2] >> 7
    depth = 12 if header[2] & 0x20 else 10 if header[2] & 0x40 else 8
    width, height = av1_size(header[4:])
    text = f"av01.{profile}.{level:02d}{'H' if tier else 'M'}.{depth:02d}"
    return Track(codec=Codec.AV1, header=header, width=width, height=height, codec_string=text)


def av1_size(obus: bytes) -> tuple[int, int]:
    """The size in the first sequence header OBU, AV1 §5.3 to §5.5; 0 by 0 where there is none."""
    at = 0
    while at < len(obus):
        kind, extension, sized = obus[at] >> 3 & 0x0F, obus[at] >> 2 & 1, obus[at] & 2
        at += 1 + extension
        size = len(obus) - at
        if sized:
            size = shift = 0
            while True:  # leb128, §4.10.5
                if at >= len(obus) or shift > 49:
                    raise ProtocolError("AV1 OBU is cut short")
                size |= (obus[at] & 0x7F) << shift
                shift += 7
                at += 1
                if obus[at - 1] < 0x80:
                    break
        if kind == 1:
            return _av1_sequence_size(obus[at : at + size])
        at += size
    return 0, 0


def _av1_sequence_size(payload: bytes) -> tuple[int, int]:
    bits = BitReader(payload)
    bits.skip(3 + 1)
    if bits.read(1):  # reduced_still_picture_header
        bits.skip(5)
    else:
        decoder_model = 0
        if bits.read(1):  # timing_info_present_flag
            bits.skip(64)
            if bits.read(1):
                bits.ue()
            decoder_model = bits.read(1)
            if decoder_model:
                delay = bits.read(5) + 1
                bits.skip(32 + 5 + 5)
        display_delay = bits.read(1)
        for _ in range(bits.read(5) + 1):
            bits.skip(12)
            if bits.read(5) > 7:
                bits.skip(1)
            if decoder_model and bits.read(1):
                bits.skip(2 * delay + 1)
            if display_delay and bits.read(1):
                bits.skip(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return _sane(bits.read(width_bits) + 1, bits.read(height_bits) + 1)


def vp(codec: Codec, header: bytes) -> Track:
    """VPCodecConfigurationRecord behind the full box's version and flags, "VP Codec ISO Media File Format Binding"."""
    if len(header) < 8 or header[0] != 1:
        raise ProtocolError(f"{codec.upper()} sequence header is not a VPCodecConfigurationRecord")
    name = "vp09" if codec is Codec.VP9 else "vp08"
    text = f"{name}.{header[4]:02d}.{header[5]:02d}.{header[6] >> 4:02d}"
    return Track(codec=codec, header=header, codec_string=text)


def vp9_size(frame: bytes) -> tuple[int, int]:
    """The size in a keyframe's uncompressed header, VP9 §6.2; 0 by 0 in any other frame."""
    bits = BitReader(frame[:32])
    if bits.read(2) != 2:
        raise ProtocolError("VP9 frame without its marker")
    profile = bits.read(1) | bits.read(1) << 1
    if profile == 3:
        bits.skip(1)
    if bits.read(1) or bits.read(1):  # shows an earlier frame, or is no keyframe
        return 0, 0
    bits.skip(2)
    if bits.read(24) != 0x498342:
        raise ProtocolError("VP9 keyframe without its sync code")
    if profile >= 2:
        bits.skip(1)
    rgb = bits.read(3) == 7
    bits.skip((0 if rgb else 1) + (0 if profile in (0, 2) else 1 if rgb else 3))
    return bits.read(16) + 1, bits.read(16) + 1


def vp8_size(frame: bytes) -> tuple[int, int]:
    """The size in a keyframe's header, RFC 6386 §9.1; 0 by 0 in any other frame."""
    if len(frame) < 10 or frame[0] & 1:
        return 0, 0
    if frame[3:6] != b"\x9d\x01\x2a":
        raise ProtocolError("VP8 keyframe without its start code")
    return int.from_bytes(frame[6:8], "little") & 0x3FFF, int.from_bytes(frame[8:10], "little") & 0x3FFF
