"""Library: what has been recorded, for those who play, export or look into it: from the spool while it is there."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple, TypeVar

from relay.archive.playlist import file_name, media_playlist
from relay.archive.signing import PublicKey
from relay.archive.spool import Spool, part_number, read_part
from relay.archive.store import Store
from relay.archive.verify import Verdict, verify
from relay.database import GapRow, RecordingRow, RecordingsRepo, SegmentRow
from relay.errors import SpoolError, StoreError
from relay.media import Packet

Result = TypeVar("Result")


class Place(NamedTuple):
    """Where a stream is being recorded: the DTS of its media time 0, and when that was, in unix seconds."""

    recording: str
    base_ms: int
    started_at: float


class Library:
    """Reads recordings, running ones too. Files come from the spool, or else from the store."""

    def __init__(self, catalog: RecordingsRepo, store: Store, spool: Spool, threads: Executor) -> None:
        self._catalog = catalog
        self._store = store
        self._spool = spool
        self._threads = threads

    async def parts_of(self, recording: str) -> tuple[RecordingRow, Sequence[SegmentRow], Sequence[GapRow]]:
        """A recording with its segments and gaps, as far as it is packaged. Raises NotFoundError."""
        row = await self._catalog.get(recording)
        return row, await self._catalog.segments(recording), await self._catalog.gaps(recording)

    async def segments_between(self, recording: str, from_ms: int, to_ms: int) -> Sequence[SegmentRow]:
        """A recording's segments that have any of that media time, as far as it is packaged."""
        return await self._catalog.segments_between(recording, from_ms, to_ms)

    async def unpackaged(self, row: RecordingRow) -> list[Packet]:
        """What of ``row`` is on disk and not packaged yet, on the stream's own timeline. Raises StoreError."""
        return await self._in_thread(lambda: self._unpackaged(row))

    def _unpackaged(self, row: RecordingRow) -> list[Packet]:
        folder = self._spool.folder(row.channel, row.id)
        parts = sorted((number, path) for path in folder.glob("*") if (number := part_number(path)) is not None)
        found: list[Packet] = []
        for _, path in parts:
            try:
                part = read_part(path)
            except SpoolError as error:
                if path.exists():
                    raise StoreError(str(error), "spool") from error
                continue  # packaged meanwhile
            found += [] if part is None else part.packets
        return found

    async def playlist(self, recording: str) -> str:
        """The recording's playlist now, with what is packaged but not stored yet. Raises NotFoundError."""
        row, segments, gaps = await self.parts_of(recording)
        return await self._in_thread(lambda: media_playlist(segments, gaps, complete=row.state == "complete"))

    async def read(self, recording: str, name: str) -> bytes:
        """One of the recording's files by its name. Raises NotFoundError or StoreError."""
        row = await self._catalog.get(recording)
        return await self.load(row, name)

    async def load(self, row: RecordingRow, name: str) -> bytes:
        """One of the files of ``row``. Raises StoreError."""
        return await self._in_thread(lambda: self._load(row, name))

    async def segment(self, row: RecordingRow, segment: SegmentRow, work: Callable[[bytes], Result]) -> Result:
        """What ``work`` makes, in a thread, of a segment whose bytes are those the catalog knows. Raises StoreError."""

        def read() -> Result:
            data = self._load(row, file_name(segment.object_key))
            if hashlib.sha256(data).hexdigest() != segment.sha256:
                raise StoreError(f"{segment.object_key} is not what was recorded: its checksum differs", "checksum")
            return work(data)

        return await self._in_thread(read)

    def verify(self, row: RecordingRow, expected: PublicKey, progress: Callable[[int, int], None]) -> Verdict:
        """Check all of ``row`` in the store against its manifest (see ``verify``). Blocking, and for long."""
        return verify(self._store, f"{row.channel}/{row.id}/", expected, progress)

    def _load(self, row: RecordingRow, name: str) -> bytes:
        try:
            return (self._spool.folder(row.channel, row.id) / name).read_bytes()
        except FileNotFoundError:
            return self._store.get(f"{row.channel}/{row.id}/{name}")

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        try:
            made = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError as error:
            raise StoreError("the relay is stopping", "stopping") from error  # the threads are gone already
        return await made
