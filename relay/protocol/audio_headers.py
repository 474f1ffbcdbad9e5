"""Sample rates, channels and codec strings out of audio sequence headers and frames."""

from typing import NamedTuple

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.protocol.bits import BitReader

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_AAC_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8)  # by channelConfiguration; 0: not told, or reserved
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_AC3_RATES = (48000, 44100, 32000)
_EAC3_HALF_RATES = (24000, 22050, 16000)
_AC3_CHANNELS = (2, 1, 2, 3, 3, 4, 4, 5)


class AacConfig(NamedTuple):
    """What an AudioSpecificConfig says of the core it describes, without spectral band replication (SBR).

    ``core_rate`` in Hz, ``layout`` is channelConfiguration; ``sample_rate`` of what comes out; ``extension`` is 5 for
    SBR and 29 for parametric stereo when announced in front, else 0. ``short`` frames have 960 samples, not 1024.
    """

    object_type: int
    core_rate: int
    layout: int
    sample_rate: int
    extension: int
    short: bool


def aac_config(header: bytes) -> AacConfig:
    """AudioSpecificConfig, ISO/IEC 14496-3 §1.6.2.1. Raises ProtocolError."""
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

    kind, core_rate, layout = object_type(), rate(), bits.read(4)
    sample_rate = core_rate
    extension = 0
    if kind in (5, 29):  # explicit SBR or PS: what comes out has the extension's rate
        extension = kind
        sample_rate = rate()
        kind = object_type()
    short = bool(bits.left and bits.read(1))  # GASpecificConfig, §4.4.1
    if kind == 2 and not extension and layout and _aac_extended(bits):
        sample_rate = rate()
    return AacConfig(kind, core_rate, layout, sample_rate, extension, short)


def aac(header: bytes) -> Track:
    """AudioSpecificConfig, ISO/IEC 14496-3 §1.6.2.1."""
    config = aac_config(header)
    channels = _AAC_CHANNELS[config.layout] if config.layout < len(_AAC_CHANNELS) else 0
    return Track(
        codec=Codec.AAC,
        header=header,
        sample_rate=config.sample_rate,
        channels=2 if config.extension == 29 else channels,
        codec_string=f"mp4a.40.{config.extension or config.object_type}",
    )


def _aac_extended(bits: BitReader) -> bool:
    """Whether SBR is announced behind the plain configuration, where old decoders do not look; its rate follows."""
    try:
        core_coder = bits.read(1)
        bits.skip(14 * core_coder + 1)
        return bits.read(11) == 0x2B7 and bits.read(5) == 5 and bits.read(1) == 1
    except ProtocolError:
        return False  # the configuration ends here, as most do


def opus(header: bytes) -> Track:
    """OpusHead, RFC 7845 §5.1, which some send without its magic; Opus always runs at 48 kHz (§4)."""
    if not header.startswith(b"OpusHead"):
        header = b"OpusHead" + header
    if len(header) < 19 or header[8] & 0xF0 or not header[9]:
        raise ProtocolError("Opus sequence header is not an OpusHead")
    return Track(codec=Codec.OPUS, header=header, sample_rate=48000, channels=header[9], codec_string="opus")


def flac(header: bytes) -> Track:
    """STREAMINFO, RFC 9639 §8.2: alone, as a metadata block (§8.1), or behind ``fLaC`` as in a file."""
    info = header.removeprefix(b"fLaC")
    if len(info) > 34 and info[0] & 0x7F == 0:
        info = info[4:]
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


def mp3(frame: bytes) -> Track:
    """MPEG audio frame header, ISO/IEC 11172-3 §2.4.1.3."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        raise ProtocolError("MP3 frame without a frame header")
    rates, index = _MP3_RATES.get(frame[1] >> 3 & 3), frame[2] >> 2 & 3
    if rates is None or index == 3:
        raise ProtocolError("MP3 frame with a reserved sampling rate")
    channels = 1 if frame[3] >> 6 == 3 else 2
    return Track(codec=Codec.MP3, sample_rate=rates[index], channels=channels, codec_string="mp4a.40.34")


def ac3(codec: Codec, frame: bytes) -> Track:
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
    if rate_code < 3:
        sample_rate = _AC3_RATES[rate_code]
    elif codec is Codec.EAC3 and frame[4] >> 4 & 3 < 3:
        sample_rate = _EAC3_HALF_RATES[frame[4] >> 4 & 3]
    else:
        raise ProtocolError("AC-3 frame with a reserved sampling rate")
    text = "ac-3" if codec is Codec.AC3 else "ec-3"
    return Track(codec=codec, sample_rate=sample_rate, channels=_AC3_CHANNELS[mode] + low, codec_string=text)
