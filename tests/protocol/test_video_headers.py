"""Video sequence headers and keyframes: sizes as ffmpeg made them, crops and limits, damage is our error."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.media.timeline import Timeline
from relay.protocol import video_headers
from relay.protocol.flv import SCRIPT, Depacketizer, TagReader
from tests.support.clips import new_ffmpeg

ENCODERS = {
    Codec.H264: ["libx264"],
    Codec.HEVC: ["libx265", "-x265-params", "log-level=none"],
    Codec.AV1: ["libsvtav1", "-preset", "12"],
    Codec.VP9: ["libvpx-vp9"],
}


def encoded(codec: Codec, width: int, height: int, folder: Path) -> Track:
    """The track of a clip of two frames made by ffmpeg 9."""
    file = folder / f"{codec}-{width}x{height}.flv"
    source = f"testsrc=s={width}x{height}:r=10"
    command = [new_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "2", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, "-c:v", *ENCODERS[codec], "-y", str(file)], check=True, capture_output=True, timeout=60)
    depacketizer = Depacketizer(Timeline())
    for tag in TagReader().feed(file.read_bytes()):
        if tag.type_id != SCRIPT:
            depacketizer.feed(tag.type_id, tag.timestamp, tag.body)
    assert depacketizer.video is not None
    return depacketizer.video


@pytest.mark.parametrize(("width", "height"), [(64, 36), (640, 360), (360, 640), (1920, 1080), (854, 480)])
@pytest.mark.parametrize("codec", ENCODERS)
def test_sizes_are_those_the_encoder_was_given(codec: Codec, width: int, height: int, tmp_path: Path) -> None:
    track = encoded(codec, width, height, tmp_path)
    assert (track.codec, track.width, track.height) == (codec, width, height)


READERS = {Codec.H264: video_headers.avc, Codec.HEVC: video_headers.hevc, Codec.AV1: video_headers.av1}


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[Codec, bytes]:
    folder = tmp_path_factory.mktemp("headers")
    return {codec: encoded(codec, 64, 36, folder).header for codec in READERS}


@given(st.sampled_from(list(READERS)), st.integers(0, 300), st.integers(0, 255))
def test_damage_is_our_error_or_another_track(headers: dict[Codec, bytes], codec: Codec, at: int, value: int) -> None:
    header = bytearray(headers[codec])
    header[at % len(header)] = value
    for damaged in (bytes(header), bytes(header[: at % len(header)])):
        try:
            assert READERS[codec](damaged).codec is codec
        except ProtocolError:
            continue


@given(st.binary(max_size=60))
def test_arbitrary_keyframes_raise_nothing_but_protocol_errors(frame: bytes) -> None:
    for size in (video_headers.vp9_size, video_headers.vp8_size, video_headers.av1_size):
        try:
            assert len(size(frame)) == 2
        except ProtocolError:
            continue


def test_a_vp8_keyframe_says_its_size() -> None:
    # RFC 6386 §9.1: frame tag with the key bit clear, start code, 14 bits of width and of height
    assert video_headers.vp8_size(bytes.fromhex("100200 9d012a 8002 6801")) == (640, 360)
