"""Streams with a frozen picture in them, and what decoders make of them: for tests of repeated keyframes."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from relay.media import Packet
from relay.protocol import flv
from relay.protocol.freeze import frozen, rejoining
from tests.protocol.flv_files import packets_of
from tests.support.clips import DEBIAN_FFMPEG, new_ffmpeg

REPEATS = 10
WAYS = (("flv", DEBIAN_FFMPEG), ("flv", new_ffmpeg()), ("mp4", DEBIAN_FFMPEG), ("ts", new_ffmpeg()))
"""Containers, and the ffmpeg that reads each."""


def encode(folder: Path, encoder: Sequence[str], *, size: str = "320x180", frames: int = 12) -> list[Packet]:
    """``frames`` pictures of noise at 24 per second, of the encoder arguments' making."""
    path = folder / "live.flv"
    source = f"testsrc2=size={size}:rate=24,noise=alls=30:allf=t"
    words = [new_ffmpeg(), "-hide_banner", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-frames:v", str(frames)]
    subprocess.run([*words, *encoder, str(path)], check=True, timeout=60, capture_output=True)
    return packets_of(flv.TagReader().feed(path.read_bytes()))


def hold(live: Sequence[Packet], *, of: int = 0) -> tuple[list[Packet], list[int]]:
    """All of ``live``, then its keyframe number ``of`` repeated twice a second, then ``live`` again.

    With it, for each picture of the whole as shown, which picture of ``live`` it must be equal to.
    """
    keyframe = [packet for packet in live if packet.is_keyframe][of]
    variants = frozen(keyframe)
    at_ms = live[-1].dts_ms + 500
    made = list(live)
    for number in range(REPEATS):
        made.append(_moved(variants[number % len(variants)], at_ms - keyframe.dts_ms))
        at_ms += 500
    by_ms = at_ms - live[0].dts_ms
    made += [_moved(packet, by_ms) for packet in (rejoining(live[0]), *live[1:])]
    shown = sorted(packet.pts_ms for packet in live)
    all_of_it = list(range(len(live)))
    return made, all_of_it + [shown.index(keyframe.pts_ms)] * REPEATS + all_of_it


def _moved(packet: Packet, by_ms: int) -> Packet:
    return packet._replace(dts_ms=packet.dts_ms + by_ms, pts_ms=packet.pts_ms + by_ms)


def write(path: Path, packets: Sequence[Packet]) -> Path:
    """``packets`` as an FLV file, or as what the name says by way of ffmpeg's copying."""
    source = path.with_suffix(".flv")
    has_audio = any(not packet.is_video for packet in packets)
    has_video = any(packet.is_video for packet in packets)
    head = flv.file_header(has_video=has_video, has_audio=has_audio)
    source.write_bytes(head + flv.encode_batch(packets, (None, None)))
    if path != source:
        words = [new_ffmpeg(), "-hide_banner", "-nostdin", "-v", "warning", "-y", "-i", str(source), "-c", "copy"]
        done = subprocess.run([*words, str(path)], check=True, timeout=60, capture_output=True, text=True)
        assert not done.stderr, done.stderr
    return path


def pictures(path: Path, *, ffmpeg: str = DEBIAN_FFMPEG) -> list[str]:
    """A checksum of each picture in ``path`` in order of showing. AssertionError when ffmpeg prints anything."""
    words = [ffmpeg, "-hide_banner", "-nostdin", "-v", "warning", "-err_detect", "explode", "-i", str(path)]
    words += ["-map", "0:v", "-fps_mode", "passthrough", "-frames:v", "1000", "-f", "framemd5", "-"]
    done = subprocess.run(words, check=True, timeout=60, capture_output=True, text=True)
    assert not done.stderr, f"{ffmpeg} {path.name}: {done.stderr}"
    return [line.rpartition(",")[2].strip() for line in done.stdout.splitlines() if not line.startswith("#")]
