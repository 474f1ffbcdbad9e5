"""Uploader: files to the object store, oldest first, verified, for as long as it takes."""

import asyncio
import contextlib
import hashlib
import heapq
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import structlog

from relay.archive.stats import ArchiveStats
from relay.archive.store import Store, check
from relay.archive.threads import LooseThreads
from relay.errors import StoreError

log = structlog.get_logger("relay.archive")

LEAST_WAIT_S, MOST_WAIT_S = 1.0, 10.0  # between attempts while the store is away; of two requests each
PROVE_EVERY_S = 10.0
REST_S, MOST_REST_S = 1.0, 300.0  # for one object that fails while others are taken


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
    failures: int = 0  # of this one, while others were stored
    failed_at: int = -1  # how many others had been stored when it last failed


class Uploader:
    """``workers`` uploads at a time while the store answers; one attempt a second at most while it does not.

    An object the store takes not, while it takes others, rests longer and longer and holds nobody up.
    """

    def __init__(self, store: Store, workers: int, stats: ArchiveStats) -> None:
        self._store = store
        self._stats = stats
        self._threads = LooseThreads(workers, "uploader")
        self._queue: list[tuple[float, int, Upload]] = []  # by age
        self._resting: list[tuple[float, int, Upload]] = []  # by the time (monotonic) at which they are tried again
        self._added = 0
        self._wanted = asyncio.Event()
        self._answers = asyncio.Event()  # the last attempt to come back was a success
        self._answers.set()
        self._probe = asyncio.Lock()
        self._next_probe = 0.0  # monotonic seconds
        self._probes = 0  # failed since the last success
        self._stored = 0
        self._busy: set[Upload] = set()
        self._troubled: set[Upload] = set()  # failed, and not stored since
        self._idle = asyncio.Event()
        self._idle.set()
        self._turns = asyncio.Semaphore(workers)
        # While one upload is written down as stored, the next is under way.
        self._tasks = [asyncio.create_task(self._work()) for _ in range(2 * workers)]
        self.last_error = ""
        self._test_error = ""

    def add(self, upload: Upload) -> None:
        """Queue an upload; the one whose media waits longest goes first."""
        self._added += 1
        heapq.heappush(self._queue, (upload.waiting_since or upload.order, self._added, upload))
        self._idle.clear()
        self._wanted.set()

    def forget(self, prefix: str) -> None:
        """Drop what waits below ``prefix``: it is not wanted any more."""
        for upload in self._all():
            upload.unwanted = upload.unwanted or upload.key.startswith(prefix)
            if upload.unwanted:
                self._no_trouble(upload)
        for heap in (self._queue, self._resting):
            heap[:] = [item for item in heap if not item[2].unwanted]
            heapq.heapify(heap)
        if not self.waiting:
            self._idle.set()

    @property
    def waiting(self) -> int:
        """Uploads not yet stored."""
        return len(self._queue) + len(self._resting) + len(self._busy)

    @property
    def is_failing(self) -> bool:
        """Whether the store is away, as far as the last attempts tell."""
        return not self._answers.is_set()

    @property
    def error(self) -> str:
        """What the store said last, while something is wrong with it or with an object; empty when nothing is."""
        return self.last_error or self._test_error

    async def prove(self) -> None:
        """Is the store what it says it is? Told at once, not when the first segment fails; asked until it is."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._threads, check, self._store)
                break
            except StoreError as error:
                self._stats.store_errors[error.kind] += 1
                if str(error) != self._test_error:
                    log.error("the object store does not pass its read-back test", error=str(error))
                self._test_error = str(error)
                await asyncio.sleep(PROVE_EVERY_S)
        self._test_error = ""
        log.info("object store ready", store=self._store.where)
        try:
            removed = await loop.run_in_executor(self._threads, self._store.clean_up)
        except StoreError as error:
            log.warning("broken uploads could not be cleaned up", error=str(error))
        else:
            if removed:
                log.info("broken uploads cleaned up", uploads=removed)

    def oldest_since(self) -> float | None:
        """When the longest waiting upload's media was closed, unix seconds; None when nothing waits."""
        return min((upload.waiting_since for upload in self._all() if upload.waiting_since), default=None)

    def _all(self) -> Iterator[Upload]:
        yield from self._busy
        for _, _, upload in chain(self._queue, self._resting):
            yield upload

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
            upload = await self._next()
            self._busy.add(upload)
            try:
                size = await self._upload(upload)
                if size is not None and upload.stored is not None:
                    await upload.stored(size)
            except Exception as error:  # noqa: BLE001 - no worker ends for what became of one object
                log.error("stored, but not noted; once more", key=upload.key, error=repr(error))
                self._rest(upload)
            finally:
                self._busy.discard(upload)
                if not self.waiting:
                    self._idle.set()

    async def _next(self) -> Upload:
        """The oldest upload that does not rest."""
        while True:
            now = time.monotonic()
            while self._resting and self._resting[0][0] <= now:
                _, number, upload = heapq.heappop(self._resting)
                heapq.heappush(self._queue, (upload.waiting_since or upload.order, number, upload))
            if self._queue:
                return heapq.heappop(self._queue)[2]
            self._wanted.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._resting[0][0] - now if self._resting else None)

    async def _upload(self, upload: Upload) -> int | None:
        """One attempt, when its turn has come: the size in bytes, None where it is not stored (yet, or any more)."""
        async with self._turns:
            while not self._answers.is_set():
                async with self._probe:
                    if not self._answers.is_set():
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._answers.wait(), max(0.0, self._next_probe - time.monotonic()))
                    if not self._answers.is_set():
                        return await self._attempt(upload, is_probe=True)
            return await self._attempt(upload)

    async def _attempt(self, upload: Upload, *, is_probe: bool = False) -> int | None:
        if upload.unwanted:
            self._no_trouble(upload)
            return None
        try:
            size = await asyncio.get_running_loop().run_in_executor(self._threads, _put, self._store, upload)
        except FileNotFoundError:
            self._stats.segments["missing"] += 1
            log.error("nothing to upload: the file is gone", key=upload.key)
            self._no_trouble(upload)
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is: the object waits, and others go on
            self._failed(upload, error, is_probe=is_probe)
            return None
        if not self._answers.is_set():
            log.info("the store takes uploads again", waiting=self.waiting)
        self._answers.set()
        self._probes = 0
        self._stored += 1
        upload.failures = 0
        self._no_trouble(upload)
        return size

    def _no_trouble(self, upload: Upload) -> None:
        """Nothing is wrong with this one (any more)."""
        self._troubled.discard(upload)
        if not self._troubled:
            self.last_error = ""

    def _failed(self, upload: Upload, error: Exception, *, is_probe: bool) -> None:
        """Nobody begins another attempt until one under way succeeds, or it is time to ask the store again."""
        now = time.monotonic()
        kind, words = (error.kind, str(error)) if isinstance(error, StoreError) else ("unexpected", repr(error))
        self._stats.store_errors[kind] += 1
        if words != self.last_error:
            log.warning("upload failed, will go on trying", key=upload.key, error=words)
        self.last_error = words
        self._troubled.add(upload)
        if is_probe or self._answers.is_set():
            self._probes += is_probe
            bound = min(MOST_WAIT_S, LEAST_WAIT_S * 2.0 ** min(self._probes + 1, 10))
            self._next_probe = now + random.uniform(LEAST_WAIT_S, bound)
        self._answers.clear()
        # While the store takes nothing this object's failures mean nothing; once it takes others, they do.
        if self._stored != upload.failed_at:
            upload.failures, upload.failed_at = upload.failures + 1, self._stored
        self._rest(upload)

    def _rest(self, upload: Upload) -> None:
        """Back into the queue, after a while."""
        rest_s = min(MOST_REST_S, REST_S * 2.0 ** max(0, min(upload.failures - 1, 10))) * random.uniform(0.5, 1.0)
        self._added += 1
        heapq.heappush(self._resting, (time.monotonic() + rest_s, self._added, upload))
        self._wanted.set()


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
