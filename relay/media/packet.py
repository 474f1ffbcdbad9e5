"""Track and Packet: the one in-memory form of media, fixed at the door and never changed after."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class TrackKind(StrEnum):
    """The two kinds of elementary stream a channel carries, one track of each at most."""

    VIDEO = "video"
    AUDIO = "audio"


class Codec(StrEnum):
    """Every codec the relay carries. None is ever decoded on the live path."""

    kind: TrackKind
    is_video: bool  # asked of every packet

    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"
    VP9 = "vp9"
    VP8 = "vp8"
    AAC = "aac"
    MP3 = "mp3"
    OPUS = "opus"
    AC3 = "ac3"
    EAC3 = "eac3"
    FLAC = "flac"


for _codec in Codec:
    _codec.is_video = _codec in (Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9, Codec.VP8)
    _codec.kind = TrackKind.VIDEO if _codec.is_video else TrackKind.AUDIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One elementary stream and its sequence header. A changed header is a new Track.

    ``header`` is the decoder configuration in the form FLV and MP4 share: AVCDecoderConfigurationRecord,
    HEVCDecoderConfigurationRecord, AV1CodecConfigurationRecord, VPCodecConfigurationRecord (from the version
    byte on), AudioSpecificConfig, OpusHead (with its magic), ``fLaC`` + STREAMINFO; empty where the codec
    has none (MP3, AC-3, E-AC-3).

    Facts read from the header, zero or empty where it does not say: ``width``/``height`` in pixels (cropped),
    ``sample_rate`` in Hz, ``channels`` as a count, ``codec_string`` as in RFC 6381.
    """

    codec: Codec
    header: bytes = b""
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    codec_string: str = ""

    @property
    def kind(self) -> TrackKind:
        return self.codec.kind


class Packet(NamedTuple):
    """One access unit (video) or audio frame. A named tuple: frozen, no dict, three times cheaper to make.

    ``data`` holds length-prefixed NAL units (H.264, HEVC), an OBU temporal unit without delimiters (AV1), or
    the codec's raw frame. Times are whole milliseconds on the stream's timeline; ``pts_ms >= dts_ms`` is not
    promised. ``is_keyframe`` is true for every audio packet. ``track`` is the configuration it decodes with:
    readers compare it by identity to see a change.
    """

    track: Track
    dts_ms: int
    pts_ms: int
    is_keyframe: bool
    data: bytes

    @property
    def is_video(self) -> bool:
        return self.track.codec.is_video
