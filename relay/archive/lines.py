"""Lines: each recording's closed parts become segments, in order, and these and their playlist reach the store."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from relay.archive import holes, upkeep
from relay.archive.painter import Painter
from relay.archive.papers import Papers
from relay.archive.parts import RETRY_S
from relay.archive.recording import Packaged, PackagedFile, Recording, package
from relay.archive.spool import ClosedPart
from relay.archive.stats import ArchiveStats
from relay.archive.upkeep import LeftPart
from relay.archive.uploader import Upload, Uploader
from relay.database import GapRow, RecordingsRepo, SegmentRow
from relay.errors import SpoolError

log = structlog.get_logger("relay.archive")

READ_TRIES = 30

Result = TypeVar("Result")
Work = Callable[[], Awaitable[None]]
Item = ClosedPart | LeftPart | Work | None
"""A part, or other work whose turn matters; None: nothing more for now."""


@dataclass(slots=True)
class _Line:
    items: "asyncio.Queue[Item]"
    task: "asyncio.Task[None]"
    oldest: float = 0.0  # unix seconds: end of the media in the part worked on


class Lines:
    """One line of work a recording: in order within it, side by side between them, each step insisted on."""

    def __init__(
        self,
        catalog: RecordingsRepo,
        uploader: Uploader,
        papers: Papers,
        stats: ArchiveStats,
        threads: ThreadPoolExecutor,
        painter: Painter,
    ) -> None:
        self._catalog = catalog
        self._uploader = uploader
        self._papers = papers
        self._stats = stats
        self._threads = threads
        self._painter = painter
        self._packager = ThreadPoolExecutor(1, thread_name_prefix="packager")
        self._lines: dict[str, _Line] = {}
        self.completed: Callable[[Recording], None] = lambda _: None
        self.gap_written: Callable[[str, str, GapRow], None] = lambda channel, recording, gap: None
        self.catalog_error = ""
        self.closing = False
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """Until now items only waited in line."""
        self._begun.set()

    def add(self, recording: Recording, item: Item) -> None:
        """Put ``item`` at the end of the recording's line."""
        line = self._lines.get(recording.id)
        if line is None:
            items: asyncio.Queue[Item] = asyncio.Queue()
            task = asyncio.get_running_loop().create_task(self._work(recording, items))
            line = self._lines[recording.id] = _Line(items, task)
        line.items.put_nowait(item)

    def is_busy(self, recording: Recording) -> bool:
        return recording.id in self._lines

    def oldest_since(self) -> float | None:
        """When the media in the longest waiting part was closed, unix seconds; None when no part waits."""
        return min((line.oldest for line in self._lines.values() if line.oldest), default=None)

    async def done(self) -> None:
        """Wait until every line has come to its end."""
        while self._lines:
            await asyncio.wait([line.task for line in self._lines.values()])

    async def close(self) -> None:
        """Stop; parts not packaged stay in the spool for the next start."""
        tasks = [line.task for line in self._lines.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._packager.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(self._painter.close)

    async def _work(self, recording: Recording, items: "asyncio.Queue[Item]") -> None:
        try:
            await self._begun.wait()
            while True:
                item = await items.get()
                if item is None:
                    if not recording.is_live and not (self.closing and not recording.ended_cleanly):
                        await self._complete(recording)
                    if items.empty():
                        return
                elif isinstance(item, ClosedPart | LeftPart):
                    await self.part(recording, item)
                else:
                    await self.insist(item)
        finally:
            del self._lines[recording.id]

    # --- from part to segment -------------------------------------------------------------------------------------

    async def part(self, recording: Recording, item: ClosedPart | LeftPart) -> None:
        """From part to segment, whatever the disk says meanwhile: each step can be taken again. In the line's turn."""
        line = self._lines[recording.id]
        line.oldest = getattr(item, "closed_at", 0.0) or time.time()
        try:
            while True:
                try:
                    await self._segment(recording, item)
                except OSError as error:
                    log.error("spool disk failed, trying again", part=str(item.path), error=str(error))
                    await asyncio.sleep(RETRY_S)
                else:
                    return
        finally:
            line.oldest = 0.0

    async def _segment(self, recording: Recording, item: ClosedPart | LeftPart) -> None:
        part = item if isinstance(item, ClosedPart) else await self._resolved(item)
        if part is None:
            return
        known = next((row for row in reversed(recording.segments) if row.seq == part.info.seq), None)
        if known is not None and await self.in_thread(_is_made, recording, known):
            await self.in_thread(upkeep.remove, part.path)
            return
        packaged = await self._package(recording, part)
        if packaged is None:
            return
        if packaged.segment is not None:
            await self._keep(recording, part, packaged, packaged.segment)
        await self.in_thread(upkeep.remove, part.path)

    async def _resolved(self, item: LeftPart) -> ClosedPart | None:
        while True:
            try:
                return await self.in_thread(upkeep.resolve, item)
            except (OSError, SpoolError) as error:
                log.error("spool part cannot be read, trying again", part=str(item.path), error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _package(self, recording: Recording, part: ClosedPart) -> Packaged | None:
        """None where the part had to be set aside. Raises OSError."""
        painter = self._painter if part.closed_at else None  # a backlog is worked off faster without pictures
        tries = 0
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    self._packager, package, recording, part, painter
                )
            except SpoolError as error:
                tries += 1
                if isinstance(error.__cause__, OSError) and tries < READ_TRIES:
                    log.error("spool part cannot be read, trying again", part=str(part.path), error=str(error))
                    await asyncio.sleep(RETRY_S)
                    continue
                self._stats.segments["unreadable"] += 1
                log.error("spool part set aside", part=str(part.path), error=str(error))
                await self.in_thread(upkeep.set_aside, part.path)
                return None

    async def _keep(self, recording: Recording, part: ClosedPart, packaged: Packaged, segment: SegmentRow) -> None:
        """Into the catalog and on to the store. After this the part itself is not needed any more."""
        gap = packaged.gap
        recording.stored.discard(segment.seq)
        after = holes.following(recording, segment)
        if after is not None:
            await self._put_between(recording, segment, gap, after)
        else:
            if gap is not None:
                await self.add_gap(recording, gap)
            await self.insist(lambda: self._catalog.add_segment(recording.id, segment))
        self._stats.segments["recorded"] += 1
        for file in packaged.files:
            self.upload(recording, file, segment if file.key == segment.object_key else None, part.closed_at)

    async def _put_between(
        self, recording: Recording, segment: SegmentRow, gap: GapRow | None, after: SegmentRow
    ) -> None:
        """A segment that others follow already: what was missing there is so no more, or in part."""
        gone, left = holes.filled(recording.gaps.values(), segment)
        if gap is not None and not any(other.start_ms == gap.start_ms for other in left):
            left.append(gap)
        breaks = holes.breaks(segment, after)
        await self.insist(
            lambda: self._catalog.put_between(
                recording.id, segment, [gap.start_ms for gap in gone], left, after.seq, discontinuity=breaks
            )
        )
        for gap in gone:
            recording.gaps.pop(gap.start_ms, None)
        recording.gaps.update({gap.start_ms: gap for gap in left})
        recording.rejoin(replace(after, discontinuity=breaks))
        self._stats.segments["late"] += 1
        log.info("a late segment is in its place", recording=recording.id, segment=segment.seq, gaps=len(left))

    async def add_gap(self, recording: Recording, gap: GapRow) -> None:
        """Write down missing time."""
        recording.gaps[gap.start_ms] = gap
        self._stats.gaps[gap.reason] += 1
        self._stats.gap_s[gap.reason] += gap.length_ms / 1000
        await self.insist(lambda: self._catalog.add_gap(recording.id, gap))
        self.gap_written(recording.channel, recording.id, gap)

    def upload(
        self, recording: Recording, file: PackagedFile, segment: SegmentRow | None, closed_at: float = 0.0
    ) -> None:
        """Bring a file to the store. ``segment``: whose media it is; ``closed_at``: unix seconds, for the delay."""

        async def done(size: int) -> None:
            if recording.is_gone:
                await self._papers.take_back(file.key)
                return
            if segment is None:
                recording.stored_files.add(file.key)
            else:
                self._stats.segments["stored"] += 1
                self._stats.stored_bytes += size
                if closed_at:
                    self._stats.delay.add(time.time() - closed_at)
                await self.insist(lambda: self._catalog.mark_stored(recording.id, segment.seq))
                recording.stored.add(segment.seq)
            await self.in_thread(upkeep.touch, file.path)  # its own time to stay begins
            self._papers.renew(recording)

        # Init segments go first: a segment without one is of no use.
        # One that came late waits since it came.
        since = 0.0 if segment is None else min(time.time(), max(closed_at, segment.started_at + segment.duration_s))
        sha256 = "" if segment is None else segment.sha256
        self._uploader.add(
            Upload(file.key, file.content_type, path=file.path, sha256=sha256, waiting_since=since, stored=done)
        )

    async def _complete(self, recording: Recording) -> None:
        """Every part is packaged: the recording is complete, though uploads may go on."""
        if recording.segments:
            recording.is_complete = True
            ended_at, cleanly = recording.ended_at, recording.ended_cleanly
            await self.insist(
                lambda: self._catalog.set_state(recording.id, "complete", ended_at, ended_cleanly=cleanly)
            )
            log.info("recording complete", recording=recording.id, segments=len(recording.segments))
            self._papers.renew(recording)
        else:
            await self.insist(lambda: self._catalog.delete(recording.id))
        self.completed(recording)

    # --- help -----------------------------------------------------------------------------------------------------

    async def insist(self, work: Work) -> None:
        """Catalog work, until it is done: a database that is away for a while loses nothing."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever the database says, the spool still has it all
                self._stats.catalog_errors += 1
                self.catalog_error = str(error)
                log.error("catalog failed, trying again", error=repr(error))
                await asyncio.sleep(RETRY_S)
            else:
                self.catalog_error = ""
                return

    async def in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """``work(*arguments)`` in one of the archive's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _is_made(recording: Recording, segment: SegmentRow) -> bool:
    """Whether the segment's file is there as the catalog has it, so that its part, left by a crash, may go."""
    path: Path = recording.folder / segment.object_key.rpartition("/")[2]
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == segment.sha256
    except OSError:
        return False
