"""HLS segments by the real ffmpeg, and what is in them as ffmpeg's own demuxer sees it, for tests of the HLS doors."""

import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

import imageio_ffmpeg


class Piece(NamedTuple):
    """One segment as an encoder would upload it: its file name, its bytes, and those of its init segment."""

    name: str
    data: bytes
    init: bytes


class Listed(NamedTuple):
    """One packet as ffmpeg lists it: 0 video or 1 audio by ``is_video``, times in ms (not rounded), its payload."""

    is_video: bool
    dts_ms: float
    pts_ms: float
    data: bytes


FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
VIDEO = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=30")
AUDIO = ("-f", "lavfi", "-i", "sine=r=48000")
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "30", "-keyint_min", "30")
H264 = (*H264, "-sc_threshold", "0")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
HEVC = (*HEVC, "-x265-params", "keyint=30:min-keyint=30:scenecut=0:log-level=none", "-tag:v", "hvc1")
AAC = ("-c:a", "aac")


def run(*words: str, data: bytes | None = None) -> bytes:
    """What ffmpeg writes to stdout."""
    done = subprocess.run(
        [FFMPEG, "-hide_banner", "-loglevel", "error", "-nostdin" if data is None else "-y", *words],
        input=data,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-2000:]
    return done.stdout


@cache
def _made(folder: Path, words: tuple[str, ...], kind: str, seconds: int, segment_s: float) -> tuple[Piece, ...]:
    folder.mkdir(parents=True)
    extension = "m4s" if kind == "fmp4" else "ts"
    run(
        *words,
        *("-t", str(seconds), "-f", "hls", "-hls_time", str(segment_s), "-hls_list_size", "0"),
        *("-hls_segment_type", kind, "-hls_segment_filename", str(folder / f"seg%05d.{extension}")),
        str(folder / "index.m3u8"),
    )
    init = (folder / "init.mp4").read_bytes() if kind == "fmp4" else b""
    return tuple(Piece(path.name, path.read_bytes(), init) for path in sorted(folder.glob(f"seg*.{extension}")))


def made(folder: Path, *words: str, kind: str = "mpegts", seconds: int = 5, segment_s: float = 1) -> tuple[Piece, ...]:
    """The segments (``kind`` mpegts or fmp4) ffmpeg's HLS muxer makes of inputs and codecs ``words``."""
    name = f"{kind}-{abs(hash((words, seconds, segment_s)))}"
    return _made(folder / name, words, kind, seconds, segment_s)


def listed(piece: Piece, folder: Path) -> list[Listed]:
    """The packets of ``piece``, read by ffmpeg (not PyAV): times as it prints them, payloads as it copies them.

    H.264 and HEVC payloads have start codes, AAC frames from TS their ADTS header.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("piece.mp4" if piece.init else "piece.ts")
    path.write_bytes(piece.init + piece.data)
    found: list[Listed] = []
    for is_video in (True, False):
        target = folder / "payload"
        words = ("-copyts", "-i", str(path), "-map", f"0:{'v' if is_video else 'a'}:0?", "-c", "copy")
        if f"{'Video' if is_video else 'Audio'}:" not in _about(path):
            continue
        lines = run(*words, "-f", "framecrc", "-").decode().splitlines()
        run(*words, "-f", "data", "-y", str(target))
        payload = target.read_bytes()
        rate = next(eval_rate(line) for line in lines if line.startswith("#tb 0:"))
        at = 0
        for line in lines:
            if line.startswith("#"):
                continue
            _, dts, pts, _, size, *_ = (part.strip() for part in line.split(","))
            found.append(Listed(is_video, int(dts) * rate, int(pts) * rate, payload[at : at + int(size)]))
            at += int(size)
        assert at == len(payload)
    return found


def eval_rate(line: str) -> float:
    """ms in one tick, out of framecrc's ``#tb 0: 1/90000``."""
    numerator, denominator = line.split(":")[1].strip().split("/")
    return 1000 * int(numerator) / int(denominator)


@cache
def _streams(path: Path, stamp: float) -> str:
    done = subprocess.run([FFMPEG, "-hide_banner", "-i", str(path)], capture_output=True, check=False, timeout=60)
    return done.stderr.decode("utf-8", "replace")


def _about(path: Path) -> str:
    return _streams(path, path.stat().st_mtime_ns)
