"""Parts: one recorder's parts on their way to disk, in order; what a bad disk refuses is kept and tried again."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog

from relay.archive.committer import Chunk, Committer, OpenPart
from relay.archive.spool import ClosedPart, PartInfo
from relay.hub.batch import Tracks

RETRY_S = 2.0

log = structlog.get_logger("relay.archive")


class PartsReader(Protocol):
    """Who is told how far the disk has come. Called on the loop."""

    def committed(self, seq: int) -> None:
        """Everything up to stream packet ``seq`` is on disk."""

    def closed(self, part: ClosedPart) -> None:
        """A part is whole and named, or given up with what it holds."""


class Parts:
    """The parts of one recorder that are not closed on disk yet (a committer.PartOwner). Used on the loop.

    A file the disk failed on is never synced again: what it had committed stays as it is, and the rest goes to a
    part that follows it.
    """

    def __init__(
        self, folder: Path, committer: Committer, reader: PartsReader, next_number: int, now: Callable[[], float]
    ) -> None:
        self.current: OpenPart | None = None  # the last, while it takes packets
        self.disk_error = ""
        self.next_number = next_number
        self._folder = folder
        self._committer = committer
        self._reader = reader
        self._now = now
        self._open: list[OpenPart] = []
        self._retry: asyncio.TimerHandle | None = None

    @property
    def all_closed(self) -> bool:
        return not self._open

    @property
    def waiting_bytes(self) -> int:
        """Bytes in memory that are not on disk."""
        return sum(part.pending_bytes for part in self._open)

    @property
    def is_settled(self) -> bool:
        """Whether all parts but the current one are closed, and that one has its number and is on disk."""
        return all(part is self.current and part.info.seq >= 0 for part in self._open)

    def open(self, info: PartInfo, opening: Tracks, skip: int = 0) -> None:
        """Begin a part, with ``skip`` numbers left free before its own; the one before must have been ended."""
        self.current = OpenPart(self._folder, info, opening, self, skip)
        self._open.append(self.current)

    def append(self, part: OpenPart, chunk: Chunk) -> None:
        """Give ``part`` what it shall hold next."""
        part.append(chunk)
        if not part.dirty:
            self._touch(part)

    def end(self, end_ms: int | None) -> None:
        """Nothing more for the current part; ``end_ms``: DTS of what follows it without a gap."""
        part, self.current = self.current, None
        if part is None:
            return
        if not part.packets:
            self._open.remove(part)
            return
        part.closing = True
        part.end_ms = end_ms
        self._touch(part)

    def _touch(self, part: OpenPart) -> None:
        if not part.dirty and self._retry is None:
            self._committer.touch(part)

    # --- from the committer ---------------------------------------------------------------------------------------

    def number(self, skip: int) -> int:
        """The next part's number but ``skip``. Called in the committer's thread, in the order of the parts."""
        number = self.next_number + skip
        self.next_number = number + 1
        return number

    def committed(self, part: OpenPart, seq: int) -> None:
        """Part ``part`` is on disk up to packet ``seq`` (0: nothing new), and closed where it has its final name."""
        self.disk_error = ""
        if seq:
            self._reader.committed(seq)
        if part.closed_path is not None:
            self._done(part, ClosedPart(part.closed_path, part.info, part.end_ms, closed_at=self._now()))

    def failed(self, part: OpenPart, chunks: list[Chunk], error: OSError) -> None:
        """Keep what is not on disk; go on in a new part where the file has something already."""
        self.disk_error = f"{error.strerror or error} ({part.folder})"
        log.error("spool part failed", channel=part.info.channel, recording=part.info.recording, error=str(error))
        # What became dirty meanwhile must not overtake: its commit would acknowledge what is not on disk.
        for other in self._open:
            self._committer.hold_back(other)
        if part.committed_length:
            self._replace(part, chunks + part.take_out())
        else:
            part.put_back(chunks)
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)

    def _replace(self, part: OpenPart, chunks: list[Chunk]) -> None:
        """What was committed of ``part`` stays as it is; ``chunks`` go to a part that follows it."""
        at = self._open.index(part)
        if not chunks:
            if self.current is part:
                self.current = None
            self._done(part, ClosedPart(part.open_path, part.info, part.end_ms, closed_at=self._now()))
            return
        first = chunks[0]
        start_ms = first.first_dts_ms
        first_seq = first.seq - first.packets + 1
        info = replace(
            part.info,
            seq=-1,
            start_ms=start_ms,
            first_seq=first_seq,
            started_at=part.info.recording_started_at + (start_ms - part.info.recording_base_ms) / 1000,
            gap="",
        )
        following = OpenPart(self._folder, info, first.opening, self)
        for chunk in chunks:
            following.append(chunk)
        following.closing, following.end_ms = part.closing, part.end_ms
        self._open.insert(at + 1, following)
        if self.current is part:
            self.current = following
        self._done(part, ClosedPart(part.open_path, part.info, start_ms, first_seq, self._now()))

    def _try_again(self) -> None:
        self._retry = None
        for part in self._open:
            if part.pending or part.closing:
                self._touch(part)

    def _done(self, part: OpenPart, closed: ClosedPart) -> None:
        self._open.remove(part)
        self._reader.closed(closed)
