"""Thumbnails: one keyframe becomes one small JPEG, in memory and within bounds, whatever a stranger's stream holds."""

from fractions import Fraction

import av
from av.video.frame import VideoFrame

from relay.errors import MediaError
from relay.media import Codec, Packet

MAX_SIDE = 8192
MAX_PIXELS = 8192 * 4320
MAX_ASPECT = 3  # what is taller than three times its width becomes narrower instead
_DECODERS = {Codec.H264: "h264", Codec.HEVC: "hevc", Codec.AV1: "libdav1d", Codec.VP9: "vp9", Codec.VP8: "vp8"}
# One thread and no concealment: a picture or an error. FFmpeg itself refuses what has more pixels.
_OPTIONS = {"threads": "1", "max_pixels": str(MAX_PIXELS), "err_detect": "explode"}
_QUALITY = {"qmin": "4", "qmax": "4"}


def jpeg(packet: Packet, *, width: int = 320) -> bytes:
    """The picture in keyframe ``packet`` as JPEG, ``width`` px wide or its own width where that is less.

    Blocks for some milliseconds (a large picture: some hundred). Raises MediaError when there is no picture in it.
    """
    track = packet.track
    if not packet.is_video or not packet.is_keyframe:
        raise MediaError(f"{track.codec}: only a keyframe makes a picture")
    if max(track.width, track.height) > MAX_SIDE or track.width * track.height > MAX_PIXELS:
        raise MediaError(f"{track.codec} picture of {track.width}×{track.height} is too large for a thumbnail")
    try:
        frame, shape = _decode(packet)
        return _encode(frame, _size(frame, shape, width))
    except (av.FFmpegError, ValueError, MemoryError) as error:
        words = getattr(error, "strerror", None) or error
        raise MediaError(f"{track.codec} keyframe of {len(packet.data)} bytes makes no picture: {words}") from error


def _decode(packet: Packet) -> tuple[VideoFrame, float]:
    """(picture, width of one of its pixels by their height). Raises MediaError, FFmpegError, ValueError."""
    codec = packet.track.codec
    decoder = av.CodecContext.create(_DECODERS[codec], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.options = dict(_OPTIONS)
    if packet.track.header:
        decoder.extradata = packet.track.header
    frames = decoder.decode(av.Packet(packet.data)) or decoder.decode(None)  # asked twice where it waits for more
    if not frames:
        raise MediaError(f"{codec} keyframe of {len(packet.data)} bytes holds no picture")
    frame = frames[0]
    if frame.is_corrupt:
        raise MediaError(f"{codec} keyframe of {len(packet.data)} bytes is damaged")
    if max(frame.width, frame.height) > MAX_SIDE:
        raise MediaError(f"{codec} picture of {frame.width}×{frame.height} is too large for a thumbnail")
    return frame, float(decoder.sample_aspect_ratio or 1)


def _size(frame: VideoFrame, shape: float, width: int) -> tuple[int, int]:
    """(width, height) in even px: what is shown, scaled down to fit, never up."""
    shown = frame.width * shape
    scale = min(1.0, width / shown, width * MAX_ASPECT / frame.height)
    return max(2, round(shown * scale / 2) * 2), max(2, round(frame.height * scale / 2) * 2)


def _encode(frame: VideoFrame, size: tuple[int, int]) -> bytes:
    small = frame.reformat(*size, format="yuvj420p", interpolation="AREA", dst_color_range="JPEG")
    small.pts = 0
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = size
    encoder.pix_fmt = "yuvj420p"
    encoder.framerate = Fraction(1)
    encoder.options = {"threads": "1", **_QUALITY}
    return b"".join(bytes(packet) for packet in (*encoder.encode(small), *encoder.encode(None)))
