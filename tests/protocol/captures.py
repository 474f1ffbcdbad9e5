"""Real bytes from real programs, and ways of cutting bytes up."""

from collections.abc import Iterator
from pathlib import Path

from hypothesis import strategies as st

DATA = Path(__file__).parents[1] / "data"
SESSIONS = ("ffmpeg5_h264_aac", "ffmpeg9_hevc_opus", "gstreamer_h264_aac")
"""What a client sent from its first handshake byte to its last: see the names."""
FILES = (
    "ffmpeg5_h264_b_aac",
    "ffmpeg5_mp3",
    "h264_b_aac",
    "hevc_aac",
    "av1_opus",
    "vp9_flac",
    "mp3",
    "ac3",
    "eac3",
    "two_videos_aac",
)
"""FLV files written by ffmpeg 9, and by Debian's ffmpeg 5.1 where the name says so."""
HANDSHAKE_BYTES = 1 + 1536 + 1536


def session(name: str) -> bytes:
    return (DATA / "rtmp" / f"{name}.bin").read_bytes()


def chunks_of(name: str) -> bytes:
    """A session without its handshake."""
    return session(name)[HANDSHAKE_BYTES:]


def flv_file(name: str) -> bytes:
    return (DATA / "flv" / f"{name}.flv").read_bytes()


cuts = st.lists(st.integers(1, 400), min_size=1, max_size=30)


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """``data`` cut into pieces of ``sizes``, over and over."""
    at = index = 0
    while at < len(data):
        size = sizes[index % len(sizes)]
        yield data[at : at + size]
        at += size
        index += 1
