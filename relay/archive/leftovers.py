"""Leftovers: what an earlier run left in spool and catalog, known before the doors open, worked off behind them."""

import time
from collections.abc import Callable

from relay.archive import upkeep
from relay.archive.lines import Lines
from relay.archive.playlist import file_name
from relay.archive.recording import PackagedFile, Recording
from relay.archive.spool import Spool
from relay.archive.upkeep import Leftover
from relay.database import RecordingRow, RecordingsRepo
from relay.errors import NotFoundError


class Leftovers:
    """Two steps, so that a spool of any size delays nobody at the door.

    ``look``: names and rows only, and of each channel the newest recording, which a publisher may go on with.
    ``work_off``: everything else, one recording after the other, oldest first.
    """

    def __init__(
        self,
        spool: Spool,
        catalog: RecordingsRepo,
        lines: Lines,
        delete: Callable[[RecordingRow], None],
        merge_window_s: float,
    ) -> None:
        self._spool = spool
        self._catalog = catalog
        self._lines = lines
        self._delete = delete
        self._merge_window_s = merge_window_s
        self._waiting: dict[str, Leftover] = {}
        self._newest: list[Recording] = []

    async def look(self) -> list[Recording]:
        """Each channel's newest recording, its parts in line; what was being deleted goes on being deleted."""
        found = {leftover.id: leftover for leftover in await self._lines.in_thread(upkeep.find, self._spool)}
        for row in await self._catalog.running():
            if row.state == "deleting":
                found.pop(row.id, None)
                self._delete(row)
            else:
                found.setdefault(row.id, Leftover(self._spool.folder(row.channel, row.id)))
        for row in await self._catalog.lost(time.time() - self._merge_window_s):
            found.setdefault(row.id, Leftover(self._spool.folder(row.channel, row.id)))
        # One that went on when the power failed may still be said to be complete.
        await self._catalog.reopen([leftover.id for leftover in found.values() if leftover.parts])
        self._waiting = dict(sorted(found.items()))
        for leftover in {leftover.channel: leftover for leftover in self._waiting.values()}.values():
            recording = await self._known(leftover)
            if recording is None:
                continue
            tail = await self._lines.in_thread(upkeep.tail, leftover)
            if tail is not None:
                recording.extend(*tail, recording.next_number)
            self._newest.append(recording)
            self._queue(recording, self._waiting.pop(leftover.id))
        return self._newest

    async def work_off(self, know: Callable[[Recording], None]) -> None:
        """Begin. ``know`` is told of each older recording before anything is done about it."""
        for newest in self._newest:
            self._upload_again(newest)
        self._lines.begin()
        while self._waiting:
            leftover = self._waiting.pop(next(iter(self._waiting)))
            recording = await self._known(leftover)
            if recording is not None:
                know(recording)
                self._upload_again(recording)
                self._queue(recording, leftover)

    async def _known(self, leftover: Leftover) -> Recording | None:
        """The recording as catalog and spool have it; None where it is gone, or about to."""
        try:
            row = await self._catalog.get(leftover.id)
        except NotFoundError:
            if not leftover.folder.is_dir():
                return None
            row = await self._lines.in_thread(upkeep.row, leftover)
            await self._catalog.create(row)
        if row.state == "deleting":
            return None
        recording = Recording(row.id, row.channel, leftover.folder)
        recording.take_up(row, await self._catalog.segments(row.id), await self._catalog.gaps(row.id))
        recording.next_number = max(recording.next_number, leftover.next_number)
        return recording

    def _queue(self, recording: Recording, leftover: Leftover) -> None:
        for part in leftover.parts:
            self._lines.add(recording, part)
        self._lines.add(recording, None)

    def _upload_again(self, recording: Recording) -> None:
        """What is packaged and not, as far as the catalog knows, stored."""
        for segment in recording.segments:
            if not segment.stored:
                path = recording.folder / file_name(segment.object_key)
                self._lines.upload(recording, PackagedFile.at(path, segment.object_key), segment)
        if recording.folder.is_dir():
            for path in sorted(recording.folder.iterdir()):
                key = f"{recording.prefix}/{path.name}"
                if path.suffix in (".mp4", ".jpg") and key not in recording.stored_files:
                    self._lines.upload(recording, PackagedFile.at(path, key), None)
