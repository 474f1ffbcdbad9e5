"""What a sequence header says of its track: picture size, sample rate, channels, and the RFC 6381 codec string."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.protocol import audio_headers, video_headers


def read_track(codec: Codec, header: bytes) -> Track:
    """The Track of ``codec`` with sequence header ``header``. Raises ProtocolError when the header is malformed."""
    reader = _READERS.get(codec)
    if reader is None:
        return Track(codec=codec, header=header, codec_string=codec.value)
    return reader(header)


def read_frame_track(codec: Codec, frame: bytes) -> Track:
    """The Track of ``codec`` when no sequence header came, from its first frame. Raises ProtocolError."""
    if codec is Codec.MP3:
        return audio_headers.mp3(frame)
    if codec in (Codec.AC3, Codec.EAC3):
        return audio_headers.ac3(codec, frame)
    return Track(codec=codec, codec_string={Codec.VP9: "vp09.00.10.08", Codec.VP8: "vp08.00.10.08"}.get(codec, codec))


def sized_by_keyframe(track: Track, frame: bytes) -> Track:
    """``track`` with the picture size of keyframe ``frame``, where the header has none; else ``track`` itself.

    VP8 and VP9 headers never have one, AV1's may lack it. A frame that cannot be read says nothing.
    """
    try:
        if track.codec is Codec.VP9:
            width, height = video_headers.vp9_size(frame)
        elif track.codec is Codec.VP8:
            width, height = video_headers.vp8_size(frame)
        elif track.codec is Codec.AV1 and not track.width:
            width, height = video_headers.av1_size(frame)
        else:
            return track
    except ProtocolError:
        return track
    if not width or (width, height) == (track.width, track.height):
        return track
    return replace(track, width=width, height=height)


_READERS: dict[Codec, Callable[[bytes], Track]] = {
    Codec.H264: video_headers.avc,
    Codec.HEVC: video_headers.hevc,
    Codec.AV1: video_headers.av1,
    Codec.VP9: partial(video_headers.vp, Codec.VP9),
    Codec.VP8: partial(video_headers.vp, Codec.VP8),
    Codec.AAC: audio_headers.aac,
    Codec.OPUS: audio_headers.opus,
    Codec.FLAC: audio_headers.flac,
}
