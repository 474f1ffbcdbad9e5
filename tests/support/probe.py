"""What ffprobe and ffmpeg say of media: clean or not, how long, how many packets and gaps."""

import asyncio
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.support import clips


@dataclass(frozen=True)
class Track:
    """Packets of one track as a player reads them; times in seconds, in decode order."""

    kind: str
    codec: str
    dts: tuple[float, ...]
    durations: tuple[float, ...]

    @property
    def frame_s(self) -> float:
        """The usual distance of two packets."""
        steps = sorted(later - earlier for earlier, later in pairwise(self.dts))
        return steps[len(steps) // 2]

    @property
    def gap_s(self) -> float:
        """The widest distance of two packets."""
        return max(later - earlier for earlier, later in pairwise(self.dts))


async def _run(*words: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(120):
            out, err = await child.communicate()
    except BaseException:
        child.kill()
        await child.wait()
        raise
    assert child.returncode is not None
    return child.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


async def probe(source: Path | str, *options: str) -> dict[str, Track]:
    """ffprobe's packets of ``source`` by kind; AssertionError when it prints any complaint."""
    code, out, err = await _run(
        "ffprobe", "-hide_banner", "-v", "warning", *options, "-show_packets", "-show_streams",
        "-of", "json",
        "-show_entries", "packet=stream_index,dts_time,duration_time:stream=index,codec_type,codec_name",
        str(source),
    )  # fmt: skip
    assert code == 0, f"ffprobe {source}: {err}"
    assert not err.strip(), f"ffprobe {source} complains: {err}"
    document = json.loads(out)
    tracks = {}
    for stream in document["streams"]:
        packets = [packet for packet in document["packets"] if packet["stream_index"] == stream["index"]]
        tracks[stream["codec_type"]] = Track(
            stream["codec_type"],
            stream["codec_name"],
            tuple(float(packet["dts_time"]) for packet in packets),
            tuple(float(packet.get("duration_time", 0)) for packet in packets),
        )
    return tracks


async def decode(source: Path | str, *options: str) -> None:
    """Decode everything in ``source``; AssertionError on the first complaint."""
    code, _, err = await _run(
        clips.new_ffmpeg(), "-hide_banner", "-nostdin", "-v", "error", "-xerror", *options, "-i", str(source),
        # Times as they are: a frame rate guessed from a start that jitters would be ffmpeg's own fault.
        "-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "null", "-",
    )  # fmt: skip
    assert code == 0, f"decoding {source}: {err}"
    assert not err.strip(), f"decoding {source}: {err}"
