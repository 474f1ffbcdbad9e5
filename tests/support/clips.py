"""Test clips: small FLV files made once per machine by a real encoder and kept under the temp directory."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imageio_ffmpeg

FULL = os.environ.get("RELAY_TEST_FULL") == "1"
SECONDS = 60 if FULL else 12
"""How long a published clip lasts; RELAY_TEST_FULL=1 for the long runs."""

DEBIAN_FFMPEG = "/usr/bin/ffmpeg"


def new_ffmpeg() -> str:
    """The wheel's ffmpeg (9), which speaks Enhanced RTMP."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@dataclass(frozen=True)
class Clip:
    """What a clip is made of; ``video``/``audio`` are encoder arguments, empty for none."""

    name: str
    video: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    seconds: int = SECONDS
    width: int = 640
    height: int = 360


_X264 = ("libx264", "-preset", "ultrafast", "-b:v", "900k", "-maxrate", "900k", "-bufsize", "900k")
_GOP = ("-g", "60", "-keyint_min", "60", "-sc_threshold", "0")
_AAC = ("aac", "-b:a", "96k", "-ar", "48000", "-ac", "2")

H264 = Clip("h264", (*_X264, *_GOP, "-bf", "0"), _AAC)
H264_B = Clip("h264-b-frames", (*_X264, *_GOP, "-bf", "2", "-b_strategy", "0"), _AAC)
HEVC = Clip(
    "hevc",
    (
        "libx265",
        "-preset",
        "ultrafast",
        "-b:v",
        "700k",
        "-x265-params",
        "log-level=error:keyint=60:min-keyint=60:scenecut=0",
    ),
    _AAC,
)
AV1 = Clip(
    "av1", ("libsvtav1", "-preset", "12", "-b:v", "700k", "-g", "60"), ("libopus", "-b:a", "64k", "-ar", "48000")
)
AUDIO_ONLY = Clip("audio-only", (), _AAC)
VIDEO_ONLY = Clip("video-only", (*_X264, *_GOP, "-bf", "0"))
LOAD = Clip("load", (*_X264, *_GOP, "-bf", "0"), _AAC, seconds=10)


def make(clip: Clip) -> Path:
    """The FLV file of ``clip``, encoded on first use; safe for any number of runs at once."""
    argv = [new_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y"]
    length = str(clip.seconds)
    if clip.video:
        # Noise, in picture and sound, keeps the rate up and makes every frame differ.
        picture = f"testsrc2=size={clip.width}x{clip.height}:rate=30,noise=alls=20:allf=t"
        argv += ["-f", "lavfi", "-t", length, "-i", picture]
    if clip.audio:
        argv += ["-f", "lavfi", "-t", length, "-i", "anoisesrc=sample_rate=48000:amplitude=0.3:color=pink:seed=7"]
    if clip.video:
        argv += ["-pix_fmt", "yuv420p", "-c:v", *clip.video]
    if clip.audio:
        argv += ["-c:a", *clip.audio]
    return _cached(clip.name, (*argv, "-t", length, "-f", "flv"))


def make_resized() -> Path:
    """Half of it 640×360, then 480×270 with a new sequence header: what a phone that turns sends."""
    half = max(2, SECONDS // 2)
    first = make(Clip("resize-a", H264.video, H264.audio, half))
    second = make(Clip("resize-b", H264.video, H264.audio, half, 480, 270))
    target = first.with_name(f"turned-{first.stem.rpartition('-')[2]}-{second.stem.rpartition('-')[2]}.flv")
    if not target.exists():
        _finish(target, _join(first.read_bytes(), second.read_bytes()))
    return target


def _join(first: bytes, second: bytes) -> bytearray:
    """FLV ``second`` after ``first``: its tags begin one audio frame after the other's last."""
    joined = bytearray(first)
    offset_ms = max(_stamp(first, position) for position, _ in _tags(first)) + 21
    for position, end in _tags(second):
        stamp = _stamp(second, position) + offset_ms
        tag = bytearray(second[position:end])
        tag[4:8] = bytes((stamp >> 16 & 255, stamp >> 8 & 255, stamp & 255, stamp >> 24 & 255))
        if tag[0] != 18:
            joined += tag
    return joined


def _tags(flv: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of each tag, its trailing size included."""
    position = 13
    while position < len(flv):
        end = position + 11 + int.from_bytes(flv[position + 1 : position + 4], "big") + 4
        yield position, end
        position = end


def _stamp(flv: bytes, position: int) -> int:
    return int.from_bytes(flv[position + 4 : position + 7], "big") | flv[position + 7] << 24


@cache
def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"fieldrelay-clips-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    return folder


def _cached(name: str, argv: Sequence[str]) -> Path:
    key = hashlib.sha256("\0".join((Path(argv[0]).name, *argv[1:])).encode()).hexdigest()[:12]
    target = _folder() / f"{name}-{key}.flv"
    if target.exists():
        return target
    with (_folder() / f"{name}-{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_suffix(f".{os.getpid()}.part")
            done = subprocess.run([*argv, str(partial)], capture_output=True, text=True, check=False, timeout=300)
            assert done.returncode == 0, f"{' '.join(argv)}\n{done.stderr}"
            partial.replace(target)
    return target


def _finish(target: Path, content: bytearray) -> None:
    partial = target.with_suffix(f".{os.getpid()}.part")
    partial.write_bytes(content)
    partial.replace(target)


def have(program: str) -> bool:
    return shutil.which(program) is not None
