"""Committer: one thread makes every open part durable, four times a second, by one write and one fdatasync each."""

import asyncio
import contextlib
import os
import queue
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from relay.archive.spool import (
    CLOSED_SUFFIX,
    OPEN_SUFFIX,
    PartInfo,
    commit_tag,
    part_header,
)
from relay.archive.stats import Durations
from relay.files import make_directory, sync_directory
from relay.hub.batch import Tracks

COMMIT_EVERY_S = 0.25
COMMIT_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class Chunk(NamedTuple):
    """FLV tags waiting for a commit: the stream's number of their last packet, and the DTS of first and last."""

    data: bytes
    packets: int
    seq: int
    first_dts_ms: int
    last_dts_ms: int
    opening: Tracks


class PartOwner(Protocol):
    """Whoever fills a part. Called on the loop, but for ``number``."""

    def number(self, skip: int) -> int:
        """The next part's number in its recording, ``skip`` left free before it.

        Called in the committer's thread, in the order of the parts.
        """

    def committed(self, part: "OpenPart", seq: int) -> None:
        """Everything in the part up to stream packet ``seq`` is on disk; ``part.closed_path`` is set at the end."""

    def failed(self, part: "OpenPart", chunks: list[Chunk], error: OSError) -> None:
        """The disk refused ``chunks``; what was committed before, if anything was, stays at ``part.open_path``."""


class OpenPart:
    """A part being written. The loop fills ``pending`` and sets ``closing``; the committer's thread owns the rest."""

    __slots__ = (
        "_fd",
        "_written_packets",
        "closed_path",
        "closing",
        "committed_length",
        "dirty",
        "end_ms",
        "folder",
        "info",
        "opening",
        "owner",
        "packets",
        "pending",
        "pending_bytes",
        "size",
        "skip",
    )

    def __init__(self, folder: Path, info: PartInfo, opening: Tracks, owner: PartOwner, skip: int = 0) -> None:
        self.folder = folder
        self.info = info  # its number is negative until the first commit
        self.opening = opening
        self.owner = owner
        self.skip = skip  # numbers left free before its own
        self.pending: list[Chunk] = []
        self.pending_bytes = 0
        self.size = 0
        self.packets = 0
        self.dirty = False
        self.closing = False
        self.end_ms: int | None = None
        # the thread's:
        self._fd = -1
        self._written_packets = 0
        self.committed_length = 0
        self.closed_path: Path | None = None

    @property
    def open_path(self) -> Path:
        return self.folder / f"{self.info.seq:06d}{OPEN_SUFFIX}"

    def append(self, chunk: Chunk) -> None:
        """Take one batch. The caller marks the part dirty."""
        self.pending.append(chunk)
        size = len(chunk.data)
        self.pending_bytes += size
        self.size += size
        self.packets += chunk.packets

    def take_out(self) -> list[Chunk]:
        """What waits for a commit; nothing waits then."""
        chunks, self.pending = self.pending, []
        self.pending_bytes = 0
        return chunks

    def put_back(self, chunks: list[Chunk]) -> None:
        """Take back what could not be committed, before what came since."""
        self.pending[:0] = chunks
        self.pending_bytes += sum(len(chunk.data) for chunk in chunks)

    # --- in the committer's thread ------------------------------------------------------------------------------

    def commit(self, chunks: list[Chunk]) -> int:
        """Write ``chunks`` and their commit tag, make them durable; the last packet's number. Raises OSError."""
        run = b"".join([chunk.data for chunk in chunks])
        fresh = self._fd < 0
        if fresh:
            make_directory(self.folder)
            if self.info.seq < 0:
                self.info = replace(self.info, seq=self.owner.number(self.skip))
            self._fd = os.open(self.open_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            run = part_header(self.info, self.opening) + run
        last = chunks[-1]
        packets = self._written_packets + sum(chunk.packets for chunk in chunks)
        tag = commit_tag(
            run,
            offset=self.committed_length + len(run),
            seq=last.seq,
            packets=packets,
            timestamp=last.last_dts_ms - self.info.base_ms,
        )
        data = memoryview(run + tag)
        length = self.committed_length + len(data)
        while data:
            data = data[os.write(self._fd, data) :]
        os.fdatasync(self._fd)
        if fresh:
            sync_directory(self.folder)
        self.committed_length = length
        self._written_packets = packets
        return last.seq

    def finish(self) -> None:
        """Give the file its final name. Raises OSError.

        The directory is not synced: after a power cut either name will do.
        """
        os.fsync(self._fd)
        os.close(self._fd)
        self._fd = -1
        path = self.folder / f"{self.info.seq:06d}{CLOSED_SUFFIX}"
        self.open_path.rename(path)
        self.closed_path = path

    def abandon(self) -> None:
        """Cut what was not committed and let go: after a failed sync, nothing more may be asked of this file."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(fd, self.committed_length)
        with contextlib.suppress(OSError):
            os.close(fd)
        if not self.committed_length:
            try:
                self.open_path.unlink()
            except OSError:
                self.info = replace(self.info, seq=-1)  # leave the wreck where it is and take another number


class _Job(NamedTuple):
    part: OpenPart
    chunks: list[Chunk]
    closing: bool


class _Result(NamedTuple):
    job: _Job
    seq: int
    error: OSError | None


class Committer:
    """Collects dirty parts; each round goes to the thread in one hand-over and comes back in one."""

    def __init__(self, every_s: float = COMMIT_EVERY_S) -> None:
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._dirty: list[OpenPart] = []
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._started_at = 0.0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._rounds: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()
        self.delay = Durations(COMMIT_BOUNDS_S)
        self.commits = 0
        self.errors = 0

    def touch(self, part: OpenPart) -> None:
        """``part`` has something to commit, or is to be closed: take it along in the next round."""
        part.dirty = True
        self._dirty.append(part)
        self._idle.clear()
        if self._timer is None and not self._busy:
            self._timer = self._loop.call_later(0 if self._draining else self._every_s, self._start)

    def hold_back(self, part: OpenPart) -> None:
        """Leave ``part`` out of the next round: another must be on disk before it."""
        if part.dirty:
            part.dirty = False
            self._dirty.remove(part)

    @property
    def busy_s(self) -> float:
        """For how long the disk has been at the present round; 0 when it is at none."""
        return time.monotonic() - self._started_at if self._busy else 0.0

    async def drain(self) -> None:
        """Commit all that is dirty without waiting for the next round."""
        self._draining = True
        if self._timer is not None:
            self._timer.cancel()
            self._start()
        await self._idle.wait()

    async def close(self) -> None:
        """Drain, then end the thread."""
        await self.drain()
        self._rounds.put(None)
        await asyncio.to_thread(self._thread.join)

    def _start(self) -> None:
        self._timer = None
        self._busy = True
        self._started_at = time.monotonic()
        dirty, self._dirty = self._dirty, []
        jobs = []
        for part in dirty:
            part.dirty = False
            jobs.append(_Job(part, part.take_out(), part.closing))
        self._rounds.put(jobs)

    def _finished(self, results: list[_Result]) -> None:
        self._busy = False
        self.delay.add(time.monotonic() - self._started_at)
        for job, seq, error in results:
            if error is None:
                self.commits += 1
                job.part.owner.committed(job.part, seq)
            else:
                self.errors += 1
                if seq:  # written, and then the file could not be closed
                    job.part.owner.committed(job.part, seq)
                job.part.owner.failed(job.part, [] if seq else job.chunks, error)
        if self._dirty and self._timer is None:
            self._timer = self._loop.call_later(0 if self._draining else self._every_s, self._start)
        elif not self._dirty:
            self._idle.set()

    # --- in the thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (jobs := self._rounds.get()) is not None:
            broken: dict[PartOwner, OSError] = {}
            results = []
            for job in jobs:
                owner = job.part.owner
                # After a failure the owner's later parts wait too: order is kept by writing them all again.
                error = broken.get(owner)
                seq = 0
                if error is None:
                    seq, error = self._run(job)
                else:
                    job.part.abandon()
                if error is not None:
                    broken[owner] = error
                results.append(_Result(job, seq, error))
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody is left to be told
                self._loop.call_soon_threadsafe(self._finished, results)

    def _run(self, job: _Job) -> tuple[int, OSError | None]:
        part = job.part
        seq = 0
        try:
            if job.chunks:
                seq = part.commit(job.chunks)
            if job.closing:
                part.finish()
        except OSError as error:
            part.abandon()
            return seq, error
        return seq, None
