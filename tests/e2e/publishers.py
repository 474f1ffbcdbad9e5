"""The real encoders that publish: each returns what it truly sent, to be compared packet by packet."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.support import clips
from tests.support.listing import Listing, read_flv
from tests.support.process import Processes
from tests.support.publisher import Publisher

Publish = Callable[[Processes, Path, str], Awaitable[Listing]]
"""Publish an FLV file to a URL in real time and say goodbye; the list of what went out."""

_WITHIN = clips.SECONDS + 40


async def debian_ffmpeg(processes: Processes, clip: Path, url: str) -> Listing:
    return await _ffmpeg(processes, clips.DEBIAN_FFMPEG, clip, url)


async def new_ffmpeg(processes: Processes, clip: Path, url: str) -> Listing:
    return await _ffmpeg(processes, clips.new_ffmpeg(), clip, url)


async def _ffmpeg(processes: Processes, program: str, clip: Path, url: str) -> Listing:
    """ffmpeg copies packets as they are: it sends what a file of its own making holds."""
    words = [program, "-hide_banner", "-nostdin", "-loglevel", "warning"]
    truth = processes.folder / "sent.flv"
    await processes.start(*words, "-i", clip, "-c", "copy", "-f", "flv", truth, name="ffmpeg-truth").done()
    await processes.start(*words, "-re", "-i", clip, "-c", "copy", "-f", "flv", url, name="ffmpeg").done(_WITHIN)
    return await asyncio.to_thread(read_flv, truth)


async def gstreamer(processes: Processes, clip: Path, url: str) -> Listing:
    """GStreamer's rtmp2sink; a second branch of the same pipeline keeps what it was given."""
    truth = processes.folder / "sent.flv"
    pipeline = (
        f"flvmux name=mux streamable=true ! tee name=t "
        f"t. ! queue ! rtmp2sink location={url} sync=true "
        f"t. ! queue ! filesink location={truth} "
        f"filesrc location={clip} ! flvdemux name=demux "
        f"demux.video ! queue ! mux.video demux.audio ! queue ! mux.audio"
    )
    await processes.start("gst-launch-1.0", "-e", "-q", *pipeline.split(), name="gst").done(_WITHIN)
    return await asyncio.to_thread(read_flv, truth)


def own_publisher(*, chunk_size: int) -> Publish:
    """The tests' own publisher, with the chunk size a picky encoder would choose."""

    async def publish(processes: Processes, clip: Path, url: str) -> Listing:
        async with Publisher(url, chunk_size=chunk_size) as publisher:
            await publisher.send(clip)
        return publisher.sent

    return publish
