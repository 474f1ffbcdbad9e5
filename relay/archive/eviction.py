"""Eviction: local copies of what is stored go after their time, once the store proves to have them still."""

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import Executor

import structlog

from relay.archive import upkeep
from relay.archive.lines import Lines
from relay.archive.papers import Papers
from relay.archive.recording import PackagedFile, Recording
from relay.archive.spool import Spool
from relay.archive.stats import ArchiveStats
from relay.archive.store import Store
from relay.archive.upkeep import SpoolFile
from relay.database import RecordingsRepo
from relay.errors import StoreError

log = structlog.get_logger("relay.archive")

LOOKS_A_SWEEP = 200  # objects of which the store is asked at most, so that a large spool does not keep it busy


class Eviction:
    """Goes through the spool every few seconds; where the disk is short of space, at once and without asking twice."""

    def __init__(
        self,
        spool: Spool,
        store: Store,
        catalog: RecordingsRepo,
        lines: Lines,
        papers: Papers,
        stats: ArchiveStats,
        threads: Executor,
    ) -> None:
        self._spool = spool
        self._store = store
        self._catalog = catalog
        self._lines = lines
        self._papers = papers
        self._stats = stats
        self._threads = threads
        self._looks = 0
        self.spool_bytes = 0

    async def sweep(self, recordings: Iterable[Recording], keep_s: float, *, ask: bool = True) -> None:
        """Count the spool; let go of stored files older than ``keep_s`` seconds, bring back what the store lost.

        ``ask``: whether the store answers now; where not, nothing goes.
        """
        by_folder = {recording.folder: recording for recording in recordings}
        found = await self._lines.in_thread(upkeep.files, self._spool)
        self.spool_bytes = sum(file.size for own in found.values() for file in own)
        horizon = time.time() - keep_s
        self._looks = LOOKS_A_SWEEP if ask else 0
        try:
            for folder, own in found.items():
                recording = by_folder.get(folder)
                if recording is not None:
                    await self._sweep(recording, own, horizon)
        except StoreError:
            return  # whether the store still has it nobody can say now; nothing goes

    async def _sweep(self, recording: Recording, own: list[SpoolFile], horizon: float) -> None:
        left = []
        for file in own:
            is_old = file.changed_at <= horizon and recording.is_stored(file.path.name)
            if not is_old or recording.is_init(file.path.name) or not await self._confirmed(recording, file):
                left.append(file)
            else:
                self.spool_bytes -= await self._lines.in_thread(upkeep.remove, file.path)
        if recording.is_busy or self._lines.is_busy(recording) or recording.is_live or self._looks <= 0:
            return
        if all(recording.is_init(file.path.name) and file.changed_at <= horizon for file in left):
            kept = [await self._confirmed(recording, file) for file in left]
            if all(kept) and not (recording.segments and await self._papers.lost(recording)):
                # Only what was looked at: the publisher may be back by now, and its media in the same folder.
                for file in left:
                    await self._lines.in_thread(upkeep.remove, file.path)
                await self._lines.in_thread(self._spool.remove, recording.folder)

    async def _confirmed(self, recording: Recording, file: SpoolFile) -> bool:
        """Whether the store is known to have the file; uploaded again where it has not. Raises StoreError."""
        if self._looks <= 0:
            return False  # at the next sweep
        self._looks -= 1
        key = f"{recording.prefix}/{file.path.name}"

        def look() -> bool | None:
            try:
                return self._store.holds(key, file.path.read_bytes())
            except FileNotFoundError:
                return None

        held = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        if held is None or held:
            return True
        log.warning("the store has lost an object, uploading it again", key=key)
        self._stats.lost_in_store += 1
        segment = recording.segment_of(file.path.name)
        if segment is not None:
            recording.stored.discard(segment.seq)
            await self._lines.insist(lambda: self._catalog.mark_stored(recording.id, segment.seq, stored=False))
        recording.stored_files.discard(key)
        self._lines.upload(recording, PackagedFile.at(file.path, key), segment)
        return False

    async def free(self, recordings: Iterable[Recording], wanted: int) -> int:
        """Remove stored copies, the oldest first, until ``wanted`` bytes are free; the bytes that freed."""
        by_folder = {recording.folder: recording for recording in recordings}
        found = await self._lines.in_thread(upkeep.files, self._spool)
        safe = [
            file
            for folder, own in found.items()
            for file in own
            if (recording := by_folder.get(folder)) is not None
            and recording.is_stored(file.path.name)
            and not recording.is_init(file.path.name)
        ]
        freed = 0
        for file in sorted(safe, key=lambda item: item.changed_at):
            if freed >= wanted:
                break
            freed += await self._lines.in_thread(upkeep.remove, file.path)
        return freed
