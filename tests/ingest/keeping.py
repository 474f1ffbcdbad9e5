"""A hub with an archive of the tests' own behind it: what a channel's publisher keeps, committed when told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from relay.config import LimitSettings
from relay.hub import Batch, Hub, Stream
from relay.hub.batch import Note
from relay.ingest.demux import Demuxer
from relay.ingest.feed import SegmentFeed
from relay.ingest.segment import Outcome, Segment, split_name
from relay.media import Packet
from tests.ingest.segments import Piece

LIMITS = LimitSettings()


class Kept:
    """Reads a stream whole (hub.Reader); commits at once, or when told. ``late``: what was filled in."""

    def __init__(self, stream: Stream, *, at_once: bool = True) -> None:
        self.batches: list[Batch] = []
        self.late: list[tuple[str, list[Packet]]] = []
        self.notes: list[Note] = []
        self.takes_late = True
        self._stream = stream
        self._at_once = at_once
        stream.set_keeper(True)
        stream.subscribe(self, whole=True)

    def take(self, batch: Batch) -> None:
        self.batches.append(batch)
        if self._at_once:
            asyncio.get_running_loop().call_soon(self.commit)

    def ended(self, error: Exception | None) -> None:
        assert error is None
        self._stream.subscribe(self, whole=True)

    def commit(self) -> None:
        if self.batches:
            self._stream.commit(self.batches[-1].seq)

    @property
    def packets(self) -> list[Packet]:
        return [packet for batch in self.batches for packet in batch.packets]

    @property
    def missing(self) -> list[int]:
        return [batch.missing for batch in self.batches]

    def names(self) -> list[str]:
        """The number in each batch's note."""
        return [note.split('"')[3] for note in (batch.note for batch in self.batches)]

    async def backfill(self, channel: str, packets: Sequence[Packet], note: str) -> bool:
        assert channel == "demo"
        if self.takes_late:
            self.late.append((note.split('"')[3], list(packets)))
        return self.takes_late

    async def read_notes(self, channel: str) -> Sequence[Note]:
        assert channel == "demo"
        return self.notes


class Channel:
    """One channel with everything around a feed."""

    def __init__(self, limits: LimitSettings, *, at_once: bool) -> None:
        self.hub = Hub()
        self.demuxer = Demuxer(limits, read_s=60)
        self.kept = Kept(self.hub.stream("demo"), at_once=at_once)
        self.limits = limits
        self.evictions: list[str] = []
        self.feed = self.new_feed()

    def new_feed(self) -> SegmentFeed:
        return SegmentFeed(
            self.hub,
            "demo",
            demuxer=self.demuxer,
            notes=self.kept.read_notes,
            backfill=self.kept.backfill,
            limits=self.limits,
            on_evicted=self.evictions.append,
        )

    async def put(self, piece: Piece, name: str = "", *, discontinuity: bool = False) -> Outcome:
        """As a door would."""
        name = name or piece.name
        track, number = split_name(name)
        self.feed.uploading += 1
        try:
            return await self.feed.put(Segment(number, name, piece.data, piece.init, discontinuity, track))
        finally:
            self.feed.uploading -= 1


@asynccontextmanager
async def channel(limits: LimitSettings = LIMITS, *, at_once: bool = True) -> AsyncIterator[Channel]:
    made = Channel(limits, at_once=at_once)
    try:
        yield made
    finally:
        made.feed.end(clean=False)
        made.hub.end("demo")
        await made.demuxer.close()


async def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait for ``condition``, looked at every 10 ms."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


Put = Callable[[Piece], Awaitable[Outcome]]
