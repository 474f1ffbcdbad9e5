"""Retention: which recordings have had their time, and how one is deleted for good, whatever interrupts it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import structlog

from relay.archive import upkeep
from relay.archive.lines import Lines
from relay.archive.playlist import PLAYLIST_NAME
from relay.archive.spool import Spool
from relay.archive.store import Store
from relay.archive.uploader import Uploader
from relay.database import RecordingRow, RecordingsRepo
from relay.errors import ConflictError, StoreError

log = structlog.get_logger("relay.archive")

RETRY_S = 10.0
DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the archive is told about a channel. ``None``: without a limit. The highest ``priority`` pauses last."""

    priority: int = 0
    keep_days: float | None = None
    keep_bytes: int | None = None


def due(rows: Sequence[RecordingRow], policy: Policy, now: float) -> list[RecordingRow]:
    """Those of one channel's recordings (newest first) that have had their time; ``now`` in unix seconds.

    Only what is complete and stored goes, and by size never the newest.
    """
    gone = []
    size = 0
    for index, row in enumerate(rows):
        size += row.bytes
        if row.state != "complete" or row.segments_stored < row.segments:
            continue
        ended_at = row.ended_at if row.ended_at is not None else row.started_at
        too_old = policy.keep_days is not None and now - ended_at > policy.keep_days * DAY_S
        too_much = policy.keep_bytes is not None and size > policy.keep_bytes and index > 0
        if too_old or too_much:
            gone.append(row)
            size -= row.bytes
    return gone


async def delete_due(
    channel: str, policy: Policy, catalog: RecordingsRepo, delete: Callable[[str], Awaitable[None]]
) -> bool:
    """Delete those of a channel's recordings that have had their time. Whether one of them was busy still."""
    was_busy = False
    for row in due(await catalog.newest(channel, limit=1_000_000), policy, time.time()):
        try:
            await delete(row.id)
        except ConflictError:
            was_busy = True
        else:
            log.info("recording has had its time", channel=channel, recording=row.id)
    return was_busy


class Removal:
    """Deletes recordings: marked first, so that a restart goes on with it; the catalog forgets last."""

    def __init__(
        self, catalog: RecordingsRepo, store: Store, spool: Spool, uploader: Uploader, lines: Lines, threads: Executor
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._spool = spool
        self._uploader = uploader
        self._lines = lines
        self._threads = threads
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def delete(self, row: RecordingRow) -> None:
        """Mark the recording; the rest follows by itself."""
        await self._catalog.set_state(row.id, "deleting", row.ended_at)
        self.go_on(row)

    def go_on(self, row: RecordingRow) -> None:
        """Delete what is marked."""
        if row.id not in self._tasks:
            task = self._tasks[row.id] = asyncio.get_running_loop().create_task(self._remove(row))
            task.add_done_callback(lambda _: self._tasks.pop(row.id, None))

    async def close(self) -> None:
        """Stop; the next start goes on."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _remove(self, row: RecordingRow) -> None:
        prefix = f"{row.channel}/{row.id}/"
        self._uploader.forget(prefix)
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._empty, prefix)
                await self._lines.in_thread(upkeep.clear, self._spool, self._spool.folder(row.channel, row.id))
                break
            except (StoreError, OSError) as error:
                log.warning("deleting goes on later", recording=row.id, error=str(error))
                await asyncio.sleep(RETRY_S)
        await self._lines.insist(lambda: self._catalog.delete(row.id))
        log.info("recording deleted", recording=row.id, channel=row.channel, bytes=row.bytes)

    def _empty(self, prefix: str) -> None:
        """Every object below ``prefix``: its playlist first, so that nobody begins to play what is going."""
        self._store.delete(prefix + PLAYLIST_NAME)
        for item in list(self._store.listed(prefix)):
            self._store.delete(item.key)
