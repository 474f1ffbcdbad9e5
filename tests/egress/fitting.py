"""A stream in real time for the tests of transcoding, and what comes out of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from relay.hub import Batch, Stream, StreamState
from relay.media import Packet


class Watcher:
    """Keeps what a stream gives (hub.Reader), and whether it is over."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.is_over = False

    def take(self, batch: Batch) -> None:
        self.packets += batch.packets

    def ended(self, error: Exception | None) -> None:
        assert error is None, error
        self.is_over = True

    @property
    def pictures(self) -> list[Packet]:
        return [packet for packet in self.packets if packet.is_video]


@asynccontextmanager
async def on_air(stream: Stream, packets: Sequence[Packet], speed: float = 1.0) -> AsyncIterator[None]:
    """``packets`` on ``stream``, again and again on one timeline, while the ``with`` lasts."""
    stream.state = StreamState.LIVE
    playing = asyncio.create_task(_play(stream, packets, speed))
    try:
        yield
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


async def _play(stream: Stream, packets: Sequence[Packet], speed: float) -> None:
    started = time.monotonic()
    first = stream.last_dts_ms or 0
    base = first
    length = packets[-1].dts_ms - packets[0].dts_ms + 33
    while True:
        at = 0
        while at < len(packets):
            due_ms = first + (time.monotonic() - started) * 1000 * speed
            end = at
            while end < len(packets) and packets[end].dts_ms + base <= due_ms:
                end += 1
            if end > at:
                stream.write([
                    packet._replace(dts_ms=packet.dts_ms + base, pts_ms=packet.pts_ms + base)
                    for packet in packets[at:end]
                ])  # fmt: skip
                at = end
            await asyncio.sleep(0.05)
        base += length


def is_alive(pid: int) -> bool:
    """Whether a process is there in any state, a zombie too."""
    return Path(f"/proc/{pid}").exists()
