"""Thumbnails of every codec's keyframes: what is in the picture, its size, and what makes none."""

import io
from collections.abc import Callable
from dataclasses import replace

import av
import pytest

from relay.archive.thumbnails import jpeg
from relay.errors import MediaError
from relay.media import Codec, Packet, Track
from tests.archive.media import read_packets
from tests.support import clips
from tests.support.clips import Clip

VP9 = Clip("unit-vp9", ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "30"), (), 1)
TALL = Clip("unit-tall", ("libx264", "-preset", "ultrafast"), (), 1, 360, 640)
WIDE_PIXELS = Clip("unit-sar", ("libx264", "-preset", "ultrafast", "-vf", "setsar=2"), (), 1, 160, 180)
THIN = Clip("unit-thin", ("libx264", "-preset", "ultrafast"), (), 1, 32, 2048)


def keyframe(clip: Clip) -> Packet:
    return next(packet for packet in read_packets(clips.make(clip)) if packet.is_video and packet.is_keyframe)


def picture(data: bytes) -> av.VideoFrame:
    """A JPEG as RGB."""
    with av.open(io.BytesIO(data), "r", format="jpeg_pipe") as file:
        return next(file.decode(video=0)).reformat(format="rgb24")


def size(data: bytes) -> tuple[int, int]:
    shown = picture(data)
    return shown.width, shown.height


def colour(shown: av.VideoFrame, x: int, y: int) -> tuple[int, ...]:
    """The mean of the 16×16 px around a place."""
    plane = shown.planes[0]
    data = bytes(plane)
    rows = [data[row * plane.line_size + 3 * (x - 8) :][: 3 * 16] for row in range(y - 8, y + 8)]
    return tuple(sum(sum(row[part::3]) for row in rows) // 256 for part in range(3))


CLIPS = [clips.H264_B, clips.HEVC, clips.AV1, VP9]


@pytest.mark.parametrize("clip", CLIPS, ids=[clip.name for clip in CLIPS])
def test_a_keyframe_of_each_codec_becomes_its_picture(clip: Clip) -> None:
    """FFmpeg's test picture has six upright bars: red, green, yellow, blue, magenta, cyan."""
    data = jpeg(keyframe(clip))
    assert data[:2] == b"\xff\xd8"
    assert data[-2:] == b"\xff\xd9"
    assert 4_000 < len(data) < 40_000
    shown = picture(data)
    assert (shown.width, shown.height) == (320, 180)
    bars = [(255, 0, 0), (0, 255, 0), (255, 255, 0), (0, 0, 255), (255, 0, 255), (0, 255, 255)]
    for number, bar in enumerate(bars):
        found = colour(shown, (2 * number + 1) * 320 // 12, 160)
        assert all(abs(one - other) < 60 for one, other in zip(found, bar, strict=True)), f"bar {number} is {found}"


def test_it_is_as_wide_as_asked_and_never_larger_than_the_picture() -> None:
    first = keyframe(clips.H264_B)
    assert size(jpeg(first, width=101)) == (100, 56)
    assert size(jpeg(first, width=5000)) == (640, 360)
    assert size(jpeg(keyframe(TALL))) == (320, 568)
    assert size(jpeg(keyframe(WIDE_PIXELS))) == (320, 180), "pixels that are not square"
    assert size(jpeg(keyframe(THIN))) == (16, 960)


DAMAGE: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("cut", lambda data: data[: len(data) // 2]),
    ("zeros", lambda data: bytes(len(data))),
    ("nine bytes", lambda data: data[:9]),
    ("empty", lambda data: b""),
    ("text", lambda data: b"no picture at all " * 200),
]


@pytest.mark.parametrize(("_", "damage"), DAMAGE, ids=[row[0] for row in DAMAGE])
@pytest.mark.parametrize("clip", CLIPS, ids=[clip.name for clip in CLIPS])
def test_a_broken_keyframe_is_an_error_of_ours(clip: Clip, _: str, damage: Callable[[bytes], bytes]) -> None:
    first = keyframe(clip)
    with pytest.raises(MediaError, match=str(first.track.codec)):
        jpeg(first._replace(data=damage(first.data)))


def test_a_broken_header_is_an_error_of_ours() -> None:
    first = keyframe(clips.H264_B)
    for header in (b"", b"\x01", first.track.header[:12], bytes(60)):
        with pytest.raises(MediaError, match="h264"):
            jpeg(first._replace(track=replace(first.track, header=header)))


def test_only_keyframes_of_a_sane_size() -> None:
    packets = read_packets(clips.make(clips.H264_B))
    sound = next(packet for packet in packets if not packet.is_video)
    other = next(packet for packet in packets if packet.is_video and not packet.is_keyframe)
    for packet in (sound, other):
        with pytest.raises(MediaError, match="only a keyframe"):
            jpeg(packet)
    for width, height in ((8194, 16), (16, 8194), (8192, 8192)):
        with pytest.raises(MediaError, match="too large"):
            jpeg(Packet(Track(codec=Codec.H264, width=width, height=height), 0, 0, True, b"x"))


def test_a_size_the_header_hides_is_refused_by_the_decoder() -> None:
    """A VP8 keyframe of 16383×16383 in a few bytes: nobody reserves memory for it."""
    claimed = bytes.fromhex("10000a9d012a") + (16383).to_bytes(2, "little") * 2 + bytes(64)
    with pytest.raises(MediaError, match="vp8"):
        jpeg(Packet(Track(codec=Codec.VP8), 0, 0, True, claimed))
