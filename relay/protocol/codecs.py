"""What a sequence header says of its track: picture size, sample rate, channels, and the RFC 6381 codec string."""

from collections.abc import Callable

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.protocol.bits import BitReader, unescape

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_AAC_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_AC3_RATES = (48000, 44100, 32000)
_AC3_CHANNELS = (2, 1, 2, 3, 3, 4, 4, 5)
_CHROMA = {1: (2, 2), 2: (2, 1)}  # chroma_format_idc: horizontal and vertical subsampling


def read_track(codec: Codec, header: bytes) -> Track:
    """The Track of ``codec`` with sequence header ``header``. Raises ProtocolError when the header is malformed."""
    reader = _READERS.get(codec)
    if reader is None:
        return Track(codec=codec, header=header, codec_string=codec.value)
    return reader(header)


def read_frame_track(codec: Codec, frame: bytes) -> Track:
    """The Track of a codec without sequence header, from its first frame. Raises ProtocolError."""
    if codec is Codec.MP3:
        return _mp3(frame)
    if codec in (Codec.AC3, Codec.EAC3):
        return _ac3(codec, frame)
    if codec is Codec.OPUS:
        return Track(codec=codec, sample_rate=48000, channels=2, codec_string="opus")
    return Track(codec=codec, codec_string={Codec.VP9: "vp09.00.10.08", Codec.VP8: "vp08.00.10.08"}.get(codec, codec))


def _avc(header: bytes) -> Track:
    """AVCDecoderConfigurationRecord, ISO/IEC 14496-15 §5.3.3.1.2, and the SPS in it, H.264 §7.3.2.1.1."""
    if len(header) < 7 or header[0] != 1:
        raise ProtocolError("H.264 sequence header is not an AVCDecoderConfigurationRecord")
    if not header[5] & 0x1F:
        raise ProtocolError("H.264 sequence header without a sequence parameter set")
    size = int.from_bytes(header[6:8], "big")
    sps = header[8 : 8 + size]
    if len(sps) < size or size < 4:
        raise ProtocolError("H.264 sequence header is cut short")
    width, height = _avc_size(sps)
    return Track(codec=Codec.H264, header=header, width=width, height=height, codec_string=f"avc1.{sps[1:4].hex()}")


def _avc_size(sps: bytes) -> tuple[int, int]:
    bits = BitReader(unescape(sps[1:]))
    profile = bits.read(8)
    bits.skip(16)
    bits.ue()
    chroma = 1
    separate = 0
    if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
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
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.skip(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    bits.skip(1)
    width = (bits.ue() + 1) * 16
    map_units = bits.ue() + 1
    frame_only = bits.read(1)
    height = map_units * 16 * (2 - frame_only)
    if not frame_only:
        bits.skip(1)
    bits.skip(1)
    if bits.read(1):
        across, down = (1, 1) if separate else _CHROMA.get(chroma, (1, 1))
        down *= 2 - frame_only
        width -= (bits.ue() + bits.ue()) * across
        height -= (bits.ue() + bits.ue()) * down
    return _sane(width, height)


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _sane(width: int, height: int) -> tuple[int, int]:
    if not 0 < width <= 16384 or not 0 < height <= 16384:
        raise ProtocolError(f"a picture of {width} by {height} pixels is not possible")
    return width, height


def _hevc(header: bytes) -> Track:
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
        across, down = (1, 1) if separate else _CHROMA.get(chroma, (1, 1))
        width -= (bits.ue() + bits.ue()) * across
        height -= (bits.ue() + bits.ue()) * down
    return _sane(width, height)


def _av1(header: bytes) -> Track:
    """AV1CodecConfigurationRecord, AV1 in ISOBMFF §2.3.3, and the sequence header OBU in it, AV1 §5.5."""
    if len(header) < 4 or header[0] != 0x81:
        raise ProtocolError("AV1 sequence header is not an AV1CodecConfigurationRecord")
    profile, level, tier = header[1] >> 5, header[1] & 0x1F, header[2] >> 7
    depth = 12 if header[2] & 0x20 else 10 if header[2] & 0x40 else 8
    width, height = _av1_size(header[4:])
    text = f"av01.{profile}.{level:02d}{'H' if tier else 'M'}.{depth:02d}"
    return Track(codec=Codec.AV1, header=header, width=width, height=height, codec_string=text)


def _av1_size(obus: bytes) -> tuple[int, int]:
    if len(obus) < 3 or obus[0] >> 3 & 0x0F != 1:
        return 0, 0  # the sequence header may come in the stream only
    start = 2 if obus[0] & 4 else 1
    if obus[0] & 2:
        while start < len(obus) and obus[start] & 0x80:
            start += 1  # leb128 size: one OBU is all we read
        start += 1
    bits = BitReader(obus[start:])
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


def _vp9(header: bytes) -> Track:
    """VPCodecConfigurationRecord behind the full box's version and flags, "VP Codec ISO Media File Format Binding"."""
    if len(header) < 8 or header[0] != 1:
        raise ProtocolError("VP9 sequence header is not a VPCodecConfigurationRecord")
    text = f"vp09.{header[4]:02d}.{header[5]:02d}.{header[6] >> 4:02d}"
    return Track(codec=Codec.VP9, header=header, codec_string=text)


def _aac(header: bytes) -> Track:
    """AudioSpecificConfig, ISO/IEC 14496-3 §1.6.2.1."""
    bits = BitReader(header)

    def object_type() -> int:
        kind = bits.read(5)
        return 32 + bits.read(6) if kind == 31 else kind

    def rate() -> int:
        index = bits.read(4)
        if index == 15:
            return bits.read(24)
        if index >= len(_AAC_RATES):
            raise ProtocolError(f"AAC sampling frequency index {index} is reserved")
        return _AAC_RATES[index]

    kind, sample_rate, layout = object_type(), rate(), bits.read(4)
    shown = kind
    if kind in (5, 29):  # explicit SBR or PS: what comes out has the extension's rate
        sample_rate = rate()
        object_type()
        shown = kind
    channels = _AAC_CHANNELS[layout] if layout < len(_AAC_CHANNELS) else 0
    if kind == 29:
        channels = 2
    return Track(
        codec=Codec.AAC, header=header, sample_rate=sample_rate, channels=channels, codec_string=f"mp4a.40.{shown}"
    )


def _opus(header: bytes) -> Track:
    """OpusHead, RFC 7845 §5.1; Opus always runs at 48 kHz (§4)."""
    body = header[8:] if header.startswith(b"OpusHead") else header
    if len(body) < 11:
        raise ProtocolError("Opus sequence header is not an OpusHead")
    return Track(codec=Codec.OPUS, header=header, sample_rate=48000, channels=body[1], codec_string="opus")


def _flac(header: bytes) -> Track:
    """``fLaC``, a metadata block header and STREAMINFO, RFC 9639 §8.2."""
    at = header.find(b"fLaC")
    info = header[8:42] if at == 0 else header[-34:]
    if len(info) < 34:
        raise ProtocolError("FLAC sequence header without STREAMINFO")
    packed = int.from_bytes(info[10:14], "big")
    return Track(
        codec=Codec.FLAC,
        header=header,
        sample_rate=packed >> 12,
        channels=(packed >> 9 & 7) + 1,
        codec_string="fLaC",
    )


def _mp3(frame: bytes) -> Track:
    """MPEG audio frame header, ISO/IEC 11172-3 §2.4.1.3."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        raise ProtocolError("MP3 frame without a frame header")
    rates, index = _MP3_RATES.get(frame[1] >> 3 & 3), frame[2] >> 2 & 3
    if rates is None or index == 3:
        raise ProtocolError("MP3 frame with a reserved sampling rate")
    channels = 1 if frame[3] >> 6 == 3 else 2
    return Track(codec=Codec.MP3, sample_rate=rates[index], channels=channels, codec_string="mp4a.40.34")


def _ac3(codec: Codec, frame: bytes) -> Track:
    """AC-3 and E-AC-3 synchronisation frames, ETSI TS 102 366 §4.3 and Annex E.1.2."""
    if len(frame) < 8 or frame[:2] != b"\x0b\x77":
        raise ProtocolError("AC-3 frame without its synchronisation word")
    if codec is Codec.AC3:
        rate_code, mode = frame[4] >> 6, frame[6] >> 5
        bits = BitReader(frame[6:8])
        bits.skip(3)
        if mode & 1 and mode != 1:
            bits.skip(2)
        if mode & 4:
            bits.skip(2)
        if mode == 2:
            bits.skip(2)
        low = bits.read(1)
    else:
        rate_code, mode, low = frame[4] >> 6, frame[4] >> 1 & 7, frame[4] & 1
    halved = 24000 if codec is Codec.EAC3 else 0  # what a reserved rate code means to each
    sample_rate = halved if rate_code == 3 else _AC3_RATES[rate_code]
    text = "ac-3" if codec is Codec.AC3 else "ec-3"
    return Track(codec=codec, sample_rate=sample_rate, channels=_AC3_CHANNELS[mode] + low, codec_string=text)


_READERS: dict[Codec, Callable[[bytes], Track]] = {
    Codec.H264: _avc,
    Codec.HEVC: _hevc,
    Codec.AV1: _av1,
    Codec.VP9: _vp9,
    Codec.AAC: _aac,
    Codec.OPUS: _opus,
    Codec.FLAC: _flac,
}
