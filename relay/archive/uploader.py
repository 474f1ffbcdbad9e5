"""Uploader: files to the object store, oldest first, verified, for as long as it takes."""

import asyncio
import hashlib
import heapq
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from relay.archive.stats import ArchiveStats
from relay.archive.store import Store
from relay.errors import StoreError

log = structlog.get_logger("relay.archive")

FIRST_WAIT_S, MOST_WAIT_S, LEAST_WAIT_S = 0.5, 30.0, 0.5


@dataclass(slots=True, eq=False)
class Upload:
    """One object to be: where its bytes are (a file, or ``data``), its key, and whom to tell when it is stored."""

    key: str
    content_type: str
    path: Path | None = None
    data: bytes = b""
    sha256: str = ""  # of the file, in hex, where it is known
    waiting_since: float = 0.0  # unix seconds: when the media in it was closed; 0 for what is no media
    order: float = 0.0  # unix seconds: what is older goes first
    replaces: bool = False  # an object that changes, such as a playlist
    stored: Callable[[int], Awaitable[None]] | None = None  # told the size in bytes
    unwanted: bool = False


class Uploader:
    """``workers`` uploads at a time while the store answers; one at a time, at most two a second, while it does not."""

    def __init__(self, store: Store, workers: int, stats: ArchiveStats) -> None:
        self._store = store
        self._stats = stats
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="uploader")
        self._queue: list[tuple[float, int, Upload]] = []
        self._added = 0
        self._wanted = asyncio.Event()
        self._probe = asyncio.Lock()
        self._failures = 0
        self._busy: set[Upload] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(workers)]
        self.last_error = ""

    def add(self, upload: Upload) -> None:
        """Queue an upload; the one whose media waits longest goes first."""
        self._added += 1
        heapq.heappush(self._queue, (upload.waiting_since or upload.order, self._added, upload))
        self._idle.clear()
        self._wanted.set()

    def forget(self, prefix: str) -> None:
        """Drop what waits below ``prefix``: it is not wanted any more."""
        self._queue = [item for item in self._queue if not item[2].key.startswith(prefix)]
        heapq.heapify(self._queue)
        for upload in self._busy:
            upload.unwanted = upload.unwanted or upload.key.startswith(prefix)

    @property
    def waiting(self) -> int:
        """Uploads not yet stored."""
        return len(self._queue) + len(self._busy)

    @property
    def is_failing(self) -> bool:
        return self._failures > 0

    def oldest_since(self) -> float | None:
        """When the longest waiting upload's media was closed, unix seconds; None when nothing waits."""
        times = [
            upload.waiting_since for upload in (*self._busy, *(item[2] for item in self._queue)) if upload.waiting_since
        ]
        return min(times, default=None)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everything is stored; False when that takes longer."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop; what is not stored stays in the spool for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while True:
            while not self._queue:
                self._wanted.clear()
                await self._wanted.wait()
            _, _, upload = heapq.heappop(self._queue)
            self._busy.add(upload)
            try:
                await self._upload(upload)
            finally:
                self._busy.discard(upload)
                if not self.waiting:
                    self._idle.set()

    async def _upload(self, upload: Upload) -> None:
        """Until it is stored, or its file is gone."""
        while not upload.unwanted:
            try:
                if self._failures:
                    async with self._probe:
                        size = await self._attempt(upload)
                else:
                    size = await self._attempt(upload)
            except FileNotFoundError:
                self._stats.segments["missing"] += 1
                log.error("nothing to upload: the file is gone", key=upload.key)
                return
            except StoreError as error:
                self._stats.store_errors[error.kind] += 1
                self._failures += 1
                if str(error) != self.last_error:
                    log.warning("upload failed, will go on trying", key=upload.key, error=str(error))
                self.last_error = str(error)
                async with self._probe:
                    bound = min(MOST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures, 10))
                    await asyncio.sleep(max(LEAST_WAIT_S, random.uniform(0, bound)))
                continue
            if self._failures:
                log.info("the store takes uploads again", failures=self._failures, waiting=self.waiting)
            self._failures = 0
            self.last_error = ""
            if upload.stored is not None:
                await upload.stored(size)
            return

    async def _attempt(self, upload: Upload) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _put, self._store, upload)


def _put(store: Store, upload: Upload) -> int:
    """Store one object and look whether it is there in full; in an uploader thread."""
    try:
        data = upload.path.read_bytes() if upload.path is not None else upload.data
    except FileNotFoundError:
        # Gone because it is safe, though the catalog was not told before a crash?
        if upload.sha256 and store.head(upload.key) is not None:
            data = store.get(upload.key)
            if hashlib.sha256(data).hexdigest() == upload.sha256:
                return len(data)
        raise
    store.put(upload.key, data, upload.content_type, replace=upload.replaces)
    if not store.holds(upload.key, data):
        # Somebody else's bytes under our key, or half of ours: ours are right.
        store.put(upload.key, data, upload.content_type, replace=True)
        if not store.holds(upload.key, data):
            raise StoreError(f"{upload.key}: the store does not hold the {len(data)} bytes given to it", "verify")
    return len(data)
