"""Archive: recordings from their first packet to the store, across reconnects and restarts (hub.StreamListener)."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from relay.archive import upkeep
from relay.archive.committer import Committer
from relay.archive.playlist import CONTENT_TYPE, media_playlist
from relay.archive.recorder import NO_LIMIT, RETRY_S, ClosedPart, Recorder
from relay.archive.recording import Packaged, PackagedFile, Recording, package
from relay.archive.spool import Spool
from relay.archive.store import check, make_store
from relay.archive.uploader import ArchiveStats, Upload, Uploader
from relay.config import Settings
from relay.database import RecordingRow, RecordingsRepo, SegmentRow
from relay.errors import SpoolError, StoreError
from relay.hub import Hub, Stream

log = structlog.get_logger("relay.archive")

SWEEP_S = 5.0
PLAYLIST_EVERY_S = 4.0
Result = TypeVar("Result")
Work = Callable[[], Awaitable[None]]


class Archive:
    """Records every live stream. ``start`` takes up what an earlier run left behind, in the background."""

    def __init__(self, settings: Settings, recordings: RecordingsRepo, hub: Hub) -> None:
        self._settings = settings
        self._catalog = recordings
        self._spool = Spool(settings.data_dir / "spool")
        self._store = make_store(settings)
        self._committer = Committer()
        self.stats = ArchiveStats()
        self._uploader = Uploader(self._store, settings.archive.uploads, self.stats)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="packager")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="archive")
        self._recordings: dict[str, Recording] = {}
        self._newest: dict[str, Recording] = {}  # by channel
        self._recorders: dict[str, Recorder] = {}  # by channel, while live
        self._parts: dict[str, asyncio.Queue[ClosedPart | None]] = {}  # by recording
        self._lines: dict[str, asyncio.Task[None]] = {}  # by recording
        self._tasks: set[asyncio.Task[None]] = set()
        self._spool_bytes = 0
        self._store_error = ""
        self._closing = False
        hub.listen(self)

    @property
    def where(self) -> str:
        """The store, as people write it."""
        return self._store.where

    async def start(self) -> None:
        """Find what an earlier run left; the work on it, and the store's read-back test, go on in the background."""
        found = await self._in_thread(upkeep.find, self._spool)
        known = {row.id: row for row in await self._catalog.running()}
        for leftover in found:
            recording = await self._taken_up(leftover.row, known)
            recording.next_number = max(recording.next_number, leftover.next_number)
            for part in leftover.parts:
                self._queue(recording).put_nowait(part)
            self._uploads_again(recording, leftover)
            self._end_line(recording)
        for row in known.values():
            if row.id not in self._recordings:
                self._end_line(await self._taken_up(row, known))
        self._spawn(self._sweep())
        self._spawn(self._check())

    async def close(self, timeout_s: float = 5.0) -> None:
        """Close parts and, as far as time allows, package and upload them; the next start takes up the rest."""
        self._closing = True
        deadline = time.monotonic() + timeout_s
        for recorder in self._recorders.values():
            recorder.finish()
        try:
            async with asyncio.timeout(timeout_s):
                await self._committer.close()
                while self._lines:
                    await asyncio.wait(self._lines.values())
        except TimeoutError:
            log.warning("stopping with parts not yet packaged; the next start takes them up")
        if not await self._uploader.drain(max(0.1, deadline - time.monotonic())):
            log.warning("stopping with uploads waiting; the next start takes them up", uploads=self._uploader.waiting)
        await self._uploader.close()
        tasks = (*self._tasks, *self._lines.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pool in (self._thread, self._readers):
            pool.shutdown(wait=True, cancel_futures=True)

    # --- what others see ------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What keeps the archive from doing its work, in words; empty when nothing does."""
        found = [f"the spool disk fails: {item.disk_error}" for item in self._recorders.values() if item.disk_error]
        error = self._uploader.last_error or self._store_error
        if error:
            found.append(f"the object store fails: {error}")
        return found

    def oldest_unstored_s(self) -> float:
        """Age in seconds of the oldest closed segment that is not in the store yet; 0 when all are."""
        since = self._uploader.oldest_since()
        return max(0.0, time.time() - since) if since is not None else 0.0

    def spool_bytes(self) -> int:
        """Bytes on the spool disk, counted every few seconds."""
        return self._spool_bytes

    def recording_of(self, channel: str) -> str | None:
        """The id of the recording ``channel`` is writing now."""
        recorder = self._recorders.get(channel)
        return recorder.recording if recorder is not None else None

    async def playlist(self, recording: str) -> str:
        """The recording's playlist now, with what is packaged but not stored yet. Raises NotFoundError."""
        row = await self._catalog.get(recording)
        return media_playlist(await self._catalog.segments(recording), complete=row.state == "complete")

    async def read(self, recording: str, name: str) -> bytes:
        """A segment or init segment by its file name. Raises NotFoundError or StoreError."""
        row = await self._catalog.get(recording)
        local = self._spool.folder(row.channel, row.id) / name
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, local.read_bytes)
        except FileNotFoundError:
            return await loop.run_in_executor(self._readers, self._store.get, f"{row.channel}/{row.id}/{name}")

    # --- hub.StreamListener ---------------------------------------------------------------------------------------

    def stream_live(self, stream: Stream) -> None:
        """Subscribe before the first packet: a new recording, or the one a lost publisher left behind."""
        if self._closing:
            return
        now = time.time()
        recording = self._newest.get(stream.name)
        if recording is None or not self._goes_on(recording, now):
            stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
            name = f"{stamp}-{os.urandom(3).hex()}"
            recording = Recording(name, stream.name, self._spool.folder(stream.name, name))
            self._recordings[name] = self._newest[stream.name] = recording
        recording.is_live = True
        recording.is_complete = False
        recorder = Recorder(
            stream,
            recording.id,
            recording.folder,
            self._committer,
            self,
            segment_ms=round(self._settings.archive.segment_s * 1000),
            now=time.time,
            before=recording.earlier(),
        )
        self._recorders[stream.name] = recorder
        stream.set_keeper(True)
        stream.subscribe(recorder, NO_LIMIT, whole=True)
        log.info("recording", channel=stream.name, recording=recording.id)

    def stream_resumed(self, stream: Stream) -> None:
        recorder = self._recorders.get(stream.name)
        if recorder is not None:
            recorder.resumed()

    def stream_holding(self, stream: Stream) -> None:
        """The recording waits for the publisher as the stream does."""

    def stream_offline(self, stream: Stream) -> None:
        recorder = self._recorders.pop(stream.name, None)
        if recorder is None:
            return
        self._recordings[recorder.recording].ended_cleanly = stream.ended_cleanly
        stream.set_keeper(False)
        recorder.finish()

    def _goes_on(self, recording: Recording, now: float) -> bool:
        """Whether a publisher that comes now belongs to this event: lost, not gone, and not long ago."""
        if recording.is_live or recording.ended_cleanly or recording.id in self._lines:
            return False
        return recording.ended_at is not None and now - recording.ended_at <= self._settings.archive.merge_window_s

    # --- recorder.Keeper ------------------------------------------------------------------------------------------

    def begun(self, recorder: Recorder) -> None:
        recording = self._recordings[recorder.recording]
        recording.started_at = recorder.started_at
        row = RecordingRow(
            id=recording.id,
            channel=recording.channel,
            state="recording",
            started_at=recorder.started_at,
            base_ms=recorder.base_ms,
        )
        # One after the other: a short recording's end must not overtake its beginning.
        self._queue(
            recording, lambda: self._catalog.create(row), lambda: self._catalog.set_state(row.id, "recording", None)
        )

    def closed(self, part: ClosedPart) -> None:
        self._queue(self._recordings[part.info.recording]).put_nowait(part)

    def finished(self, recorder: Recorder) -> None:
        recording = self._recordings[recorder.recording]
        recording.is_live = False
        self._end_line(recording)

    # --- from part to segment -------------------------------------------------------------------------------------

    def _queue(self, recording: Recording, *first: Work) -> "asyncio.Queue[ClosedPart | None]":
        """The recording's closed parts; whoever asks first starts the line that works on them."""
        parts = self._parts.get(recording.id)
        if parts is None:
            parts = self._parts[recording.id] = asyncio.Queue()
            self._lines[recording.id] = asyncio.get_running_loop().create_task(self._line(recording, parts, first))
        return parts

    def _end_line(self, recording: Recording) -> None:
        self._queue(recording).put_nowait(None)

    async def _line(
        self,
        recording: Recording,
        parts: "asyncio.Queue[ClosedPart | None]",
        first: tuple[Work, ...],
    ) -> None:
        """One recording's parts in order, each insisted on, until its stream is over."""
        try:
            for step in first:
                await self._insist(step)
            while (part := await parts.get()) is not None:
                await self._package(recording, part)
            await self._complete(recording)
        finally:
            del self._parts[recording.id], self._lines[recording.id]

    async def _package(self, recording: Recording, part: ClosedPart) -> None:
        while True:
            try:
                packaged = await asyncio.get_running_loop().run_in_executor(self._thread, package, recording, part)
                break
            except SpoolError as error:
                self.stats.segments["unreadable"] += 1
                log.error("spool part set aside", part=str(part.path), error=str(error))
                await self._in_thread(upkeep.set_aside, part.path)
                return
            except OSError as error:
                log.error("segment could not be written, trying again", part=str(part.path), error=str(error))
                await asyncio.sleep(RETRY_S)
        if packaged.segment is None:
            await self._in_thread(upkeep.remove, part.path)
            return
        await self._keep(recording, part, packaged, packaged.segment)

    async def _keep(self, recording: Recording, part: ClosedPart, packaged: Packaged, segment: SegmentRow) -> None:
        gap = packaged.gap
        if gap is not None:
            await self._insist(lambda: self._catalog.add_gap(recording.id, gap))
        await self._insist(lambda: self._catalog.add_segment(recording.id, segment))
        self.stats.segments["recorded"] += 1
        for file in packaged.files:
            is_media = file.key == segment.object_key
            self._upload(recording, file, segment if is_media else None, part.path)

    def _upload(self, recording: Recording, file: PackagedFile, segment: SegmentRow | None, part: Path | None) -> None:
        """Bring a file to the store; once its ``segment`` is there, ``part`` may go."""

        async def done(size: int) -> None:
            if segment is None:
                recording.stored_inits.add(file.key)
            else:
                self.stats.segments["stored"] += 1
                self.stats.stored_bytes += size
                await self._insist(lambda: self._catalog.mark_stored(recording.id, segment.seq))
                recording.stored.add(segment.seq)
                if part is not None:
                    await self._in_thread(upkeep.stored, part, file.path)
            recording.playlist_due = True
            if recording.is_complete and recording.all_stored:
                self._upload_playlist(recording)

        # Init segments go first: a segment without one is of no use.
        since = 0.0 if segment is None else min(time.time(), segment.started_at + segment.duration_s)
        self._uploader.add(Upload(file.key, file.content_type, path=file.path, waiting_since=since, stored=done))

    async def _complete(self, recording: Recording) -> None:
        """Every part is packaged: the recording is complete, though uploads may go on."""
        if recording.is_live:
            return
        if not recording.segments:
            await self._insist(lambda: self._catalog.delete(recording.id))
            self._recordings.pop(recording.id, None)
            if self._newest.get(recording.channel) is recording:
                del self._newest[recording.channel]
            return
        recording.is_complete = True
        await self._insist(lambda: self._catalog.set_state(recording.id, "complete", recording.ended_at))
        log.info("recording complete", recording=recording.id, segments=len(recording.segments))
        self._upload_playlist(recording)

    def _upload_playlist(self, recording: Recording) -> None:
        """Bring the store's playlist up to date; one upload of it at a time, so that none overtakes another."""
        recording.playlist_due = recording.playlist_busy
        if recording.playlist_busy:
            return

        async def done(_: int) -> None:
            recording.playlist_busy = False
            if recording.playlist_due and recording.is_complete and recording.all_stored:
                self._upload_playlist(recording)

        recording.playlist_busy = True
        recording.playlist_at = time.monotonic()
        complete = recording.is_complete and recording.all_stored
        data = media_playlist(recording.storable(), complete=complete).encode()
        key = f"{recording.prefix}/index.m3u8"
        since = recording.ended_at or time.time()
        self._uploader.add(Upload(key, CONTENT_TYPE, data=data, order=since, replaces=True, stored=done))

    # --- start and upkeep -----------------------------------------------------------------------------------------

    async def _taken_up(self, row: RecordingRow, known: dict[str, RecordingRow]) -> Recording:
        """The recording as catalog and spool have it."""
        name, channel = row.id, row.channel
        recording = Recording(name, channel, self._spool.folder(channel, name))
        await self._catalog.create(row)
        recording.take_up(known.get(name) or await self._catalog.get(name), await self._catalog.segments(name))
        self._recordings[name] = recording
        newest = self._newest.get(channel)
        if newest is None or newest.started_at < recording.started_at:
            self._newest[channel] = recording
        return recording

    def _uploads_again(self, recording: Recording, leftover: upkeep.Leftover) -> None:
        """Files that were packaged before and not, as far as the catalog knows, stored."""
        for path in leftover.inits:
            self._upload(recording, PackagedFile(path, f"{recording.prefix}/{path.name}", "video/mp4"), None, None)

    async def _check(self) -> None:
        """Is the store what it says it is? Said at once, not when the first segment fails."""
        try:
            await self._in_thread(check, self._store)
        except StoreError as error:
            self._store_error = str(error)
            self.stats.store_errors[error.kind] += 1
            log.error("the object store does not pass its read-back test", error=str(error))
        else:
            log.info("object store ready", store=self._store.where)

    async def _sweep(self) -> None:
        """Counts the spool, evicts what has been safe long enough, renews playlists, forgets finished recordings."""
        keep_s = self._settings.archive.keep_after_upload_s
        while True:
            busy = {item.folder for item in self._recordings.values() if item.is_busy}
            self._spool_bytes = await self._in_thread(upkeep.sweep, self._spool, keep_s, busy)
            now = time.monotonic()
            for recording in list(self._recordings.values()):
                if recording.playlist_due and now - recording.playlist_at >= PLAYLIST_EVERY_S:
                    self._upload_playlist(recording)
                elif recording.folder not in busy and self._newest.get(recording.channel) is not recording:
                    del self._recordings[recording.id]
            await asyncio.sleep(SWEEP_S)

    async def _insist(self, work: Work) -> None:
        """Catalog work, until it is done: a database that is away for a while loses nothing."""
        while True:
            try:
                await work()
                break
            except Exception as error:  # noqa: BLE001 - whatever the database says, the spool still has it all
                self.stats.catalog_errors += 1
                log.error("catalog failed, trying again", error=repr(error))
                await asyncio.sleep(RETRY_S)

    async def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *arguments)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
