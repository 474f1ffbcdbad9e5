"""Archive: recordings from their first packet to the store, across reconnects and restarts (hub.StreamListener)."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import structlog

from relay.archive import notes
from relay.archive.backfill import Backfill
from relay.archive.committer import Committer
from relay.archive.disk import LOOK_EVERY_S, DiskWatch
from relay.archive.eviction import Eviction
from relay.archive.leftovers import Leftovers
from relay.archive.library import Library, Place
from relay.archive.lines import Lines
from relay.archive.painter import Painter
from relay.archive.papers import Papers
from relay.archive.recorder import NO_LIMIT, Recorder
from relay.archive.recording import GAP_OVER_MS, Recording
from relay.archive.retention import Policy, Removal, delete_due
from relay.archive.signing import KEY_FILE, Signer
from relay.archive.spool import ClosedPart, Spool
from relay.archive.stats import ArchiveStats, Durations
from relay.archive.store import make_store
from relay.archive.threads import LooseThreads
from relay.archive.uploader import Uploader
from relay.config import Settings
from relay.database import GapRow, RecordingRow, RecordingsRepo
from relay.errors import ConflictError, SpoolError
from relay.hub import Hub, Stream
from relay.hub.batch import Note
from relay.media import Packet

log = structlog.get_logger("relay.archive")

SWEEP_S = 5.0
RETENTION_S = 600.0
STUCK_S = 5.0
LATE_S = 120.0


class Archive:
    """Records every live stream, and takes up what an earlier run left behind: ``start``, doors open, ``work``."""

    def __init__(self, settings: Settings, recordings: RecordingsRepo, hub: Hub) -> None:
        archive = settings.archive
        self._archive_settings = archive
        self._catalog = recordings
        self._hub = hub
        self._spool = Spool(settings.data_dir / "spool")
        self._store = make_store(settings)
        self._committer = Committer()
        self.stats = stats = ArchiveStats()
        self._threads = threads = ThreadPoolExecutor(2, thread_name_prefix="archive")
        self._store_threads = LooseThreads(2, "store")
        self._uploader = uploader = Uploader(self._store, archive.uploads, stats)
        self.signer = Signer(settings.data_dir / KEY_FILE)
        self._papers = papers = Papers(
            self._store, uploader, self._store_threads, self.signer, archive.manifest_every_s
        )
        painter = Painter(archive.thumbnail_every_s)
        self._lines = lines = Lines(recordings, uploader, papers, stats, threads, painter)
        lines.completed = self._completed
        self._backfill = Backfill(lines)
        self._eviction = Eviction(self._spool, self._store, recordings, lines, papers, stats, self._store_threads)
        self._removal = Removal(recordings, self._store, self._spool, uploader, lines, self._store_threads)
        self._leftovers = Leftovers(self._spool, recordings, lines, self._removal.go_on, archive.merge_window_s)
        self.library = Library(recordings, self._store, self._spool, self._store_threads)
        self._recordings: dict[str, Recording] = {}
        self._newest: dict[str, Recording] = {}  # by channel
        self._recorders: dict[str, Recorder] = {}  # by channel, while live
        self._unrecorded: dict[str, Stream] = {}  # live, and not recorded for want of space
        self._policies: dict[str, Policy] = {}
        self.expire = self.delete  # what deletes a recording that has had its time
        self._limits_changed = asyncio.Event()
        self.disk = DiskWatch(
            self._spool.root,
            archive.reserve_percent,
            archive.reserve_bytes,
            self._recorders,
            lambda channel: self._policies.get(channel, Policy()).priority,
            stats,
        )
        self.disk.evict = self._evict
        self.disk.resumed = self._record_the_unrecorded
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        hub.listen(self)

    @property
    def where(self) -> str:
        """The store, as people write it."""
        return self._store.where

    async def start(self) -> None:
        """See what an earlier run left, as far as a publisher may go on with it."""
        for recording in await self._leftovers.look():
            self._know(recording)
            self._newest[recording.channel] = recording

    def work(self) -> None:
        """Begin: with what an earlier run left, the store's read-back test, upkeep. After the doors are open."""
        self._spawn(self._leftovers.work_off(self._know))
        self._spawn(self._uploader.prove())
        self._spawn(self._every(SWEEP_S, self._sweep))
        self._spawn(self._every(SWEEP_S, self._retain))
        self._spawn(self._every(LOOK_EVERY_S, self.disk.check))

    async def close(self, timeout_s: float = 5.0) -> None:
        """Close parts and, as far as time allows, package and upload them; the next start takes up the rest.

        A recording whose publisher said no goodbye stays open: the encoder may be back right after a restart.
        """
        self._closing = self._lines.closing = True
        self._lines.begin()
        deadline = time.monotonic() + timeout_s
        for recorder in self._recorders.values():
            self._recordings[recorder.recording].ended_cleanly = False
            recorder.finish()
        try:
            async with asyncio.timeout(timeout_s):
                await self._committer.close()
                await self._lines.done()
                await self._papers.done()
        except TimeoutError:
            log.warning("stopping with parts not yet packaged; the next start takes them up")
        if not await self._uploader.drain(max(0.1, deadline - time.monotonic())):
            log.warning("stopping with uploads waiting; the next start takes them up", uploads=self._uploader.waiting)
        await self._uploader.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._backfill.close()
        await self._papers.close()
        await self._removal.close()
        await self._lines.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._store_threads.shutdown(wait=False, cancel_futures=True)

    # --- what others see ------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What keeps the archive from doing its work, in words; empty when nothing does."""
        found = [f"the spool disk fails: {item.disk_error}" for item in self._recorders.values() if item.disk_error]
        if self._committer.busy_s > STUCK_S:
            found.append(f"the spool disk has not answered for {self._committer.busy_s:.0f} s")
        found += self.disk.problems()
        if self._lines.catalog_error:
            found.append(f"the database fails: {self._lines.catalog_error}")
        if self._uploader.error:
            found.append(f"the object store fails: {self._uploader.error}")
        elif self.oldest_unstored_s() > LATE_S:
            found.append(f"segments wait for the object store, the oldest for {self.oldest_unstored_s():.0f} s")
        return found

    def oldest_unstored_s(self) -> float:
        """Age in seconds of the oldest closed segment that is not in the store yet; 0 when all are."""
        times = [at for at in (self._uploader.oldest_since(), self._lines.oldest_since()) if at is not None]
        return max(0.0, time.time() - min(times)) if times else 0.0

    @property
    def spool_bytes(self) -> int:
        """Bytes in the spool, counted every few seconds."""
        return self._eviction.spool_bytes

    @property
    def spool_errors(self) -> int:
        """Commits the spool disk refused."""
        return self._committer.errors

    @property
    def commit_delay(self) -> Durations:
        """How long the disk took for each round of commits."""
        return self._committer.delay

    def recording_of(self, channel: str) -> str | None:
        """The id of the recording ``channel`` is writing now."""
        recorder = self._recorders.get(channel)
        return recorder.recording if recorder is not None else None

    def kept_s(self, channel: str) -> float:
        """Up to where the running recording of ``channel`` reaches, in seconds, gaps included; 0 without one."""
        recorder = self._recorders.get(channel)
        return 0.0 if recorder is None else (recorder.kept_until_ms or 0) / 1000

    def on_gap(self, told: Callable[[str, str, GapRow], None]) -> None:
        """Whom to tell of missing time once it is written down: channel, recording, gap."""
        self._lines.gap_written = told

    def place(self, channel: str) -> Place | None:
        """Where ``channel`` is being recorded now; None where it is not, or nothing came yet."""
        recorder = self._recorders.get(channel)
        if recorder is None or not recorder.started_at:
            return None
        return Place(recorder.recording, recorder.base_ms, recorder.started_at)

    def is_paused(self, channel: str) -> bool:
        """Whether ``channel`` is live and nothing of it is recorded now, for want of space."""
        recorder = self._recorders.get(channel)
        return channel in self._unrecorded or (recorder is not None and recorder.is_paused)

    def set_policy(self, channel: str, policy: Policy | None) -> None:
        """How the channel's recordings are treated; ``None``: there is no such channel any more."""
        self._policies.pop(channel, None)
        if policy is not None:
            self._policies[channel] = policy
            self._limits_changed.set()

    async def notes(self, channel: str) -> list[Note]:
        """What is on disk of the recording that the channel's next media goes on with, as noted; oldest first."""
        recording = self._newest.get(channel)
        if recording is None or not (recording.is_live or self._goes_on(recording, time.time())):
            return []
        return await notes.kept(recording.id, recording.folder, self._catalog, self._threads)

    async def backfill(self, channel: str, packets: Sequence[Packet], note: str) -> bool:
        """Put a segment that came too late into its place in the channel's newest recording; see Backfill.put."""
        if self.disk.is_short:
            raise SpoolError("the spool disk is short of space")
        recording = self._newest.get(channel)
        return recording is not None and await self._backfill.put(
            recording, self._recorders.get(channel), packets, note
        )

    async def delete(self, recording: str) -> None:
        """Delete a recording from spool, store and catalog. Raises NotFoundError, or ConflictError while it runs."""
        row = await self._catalog.get(recording)
        known = self._recordings.get(recording)
        if known is not None:
            if known.is_live or self._lines.is_busy(known):
                raise ConflictError(f"{recording} is being recorded; end the stream first, then delete it")
            self._forget(known)
        await self._removal.delete(row)

    # --- hub.StreamListener ---------------------------------------------------------------------------------------

    def stream_live(self, stream: Stream) -> None:
        """Subscribe before the first packet: a new recording, or the one a lost publisher left behind."""
        if self._closing:
            return
        stream.set_keeper(True)
        if self.disk.is_short:
            self._unrecorded[stream.name] = stream
            self.stats.refused += 1
            log.error("not recorded: the spool disk is short of space", channel=stream.name)
            return
        self._record(stream, late=False)

    def _record(self, stream: Stream, *, late: bool) -> None:
        now = time.time()
        recording = self._newest.get(stream.name)
        if recording is None or not self._goes_on(recording, now):
            stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
            name = f"{stamp}-{os.urandom(3).hex()}"
            recording = Recording(name, stream.name, self._spool.folder(stream.name, name))
            self._recordings[name] = self._newest[stream.name] = recording
        recording.go_live()
        recorder = Recorder(
            stream,
            recording.id,
            recording.folder,
            self._committer,
            self,
            segment_ms=round(self._archive_settings.segment_s * 1000),
            now=time.time,
            before=recording.earlier(),
            late=late,
        )
        self._recorders[stream.name] = recorder
        stream.subscribe(recorder, NO_LIMIT, whole=True)
        log.info("recording", channel=stream.name, recording=recording.id)

    def stream_resumed(self, stream: Stream) -> None:
        recorder = self._recorders.get(stream.name)
        if recorder is not None:
            recorder.resumed()

    def stream_holding(self, stream: Stream) -> None:
        """The recording waits for the publisher as the stream does."""

    def stream_offline(self, stream: Stream) -> None:
        self._unrecorded.pop(stream.name, None)
        recorder = self._recorders.pop(stream.name, None)
        stream.set_keeper(False)
        if recorder is not None:
            self._recordings[recorder.recording].ended_cleanly = stream.ended_cleanly
            recorder.finish()

    def _goes_on(self, recording: Recording, now: float) -> bool:
        """Whether a publisher that comes now belongs to this event: lost, not gone, and not long ago."""
        if recording.is_live or recording.ended_cleanly:
            return False
        return recording.ended_at is not None and now - recording.ended_at <= self._archive_settings.merge_window_s

    # --- recorder.Keeper ------------------------------------------------------------------------------------------

    def begun(self, recorder: Recorder) -> None:
        recording = self._recordings[recorder.recording]
        recording.started_at, recording.base_ms = recorder.started_at, recorder.base_ms
        recording.is_placed = True
        row = RecordingRow(
            id=recording.id,
            channel=recording.channel,
            state="recording",
            started_at=recorder.started_at,
            base_ms=recorder.base_ms,
            ended_cleanly=False,  # not yet, and not if the relay dies
        )
        # In the recording's line: its end, and what an earlier run left of it, must not be overtaken.
        self._lines.add(recording, lambda: self._catalog.create(row))
        self._lines.add(recording, lambda: self._catalog.set_state(row.id, "recording", None, ended_cleanly=False))

    def closed(self, part: ClosedPart) -> None:
        self._lines.add(self._recordings[part.info.recording], part)

    def finished(self, recorder: Recorder) -> None:
        recording = self._recordings[recorder.recording]
        recording.is_live = False
        if recorder.kept_until_ms is not None:
            ended_at = recorder.started_at + recorder.kept_until_ms / 1000
            recording.extend(recorder.kept_until_ms, ended_at, recorder.next_number)
        dropped_ms = recorder.dropped_until_ms
        if dropped_ms is not None:
            self._lines.add(recording, lambda: self._gap_at_end(recording, dropped_ms, recorder.dropped_for))
        self._lines.add(recording, None)

    async def _gap_at_end(self, recording: Recording, until_ms: int, reason: str) -> None:
        """What the disk had no room for, with nothing behind it: the recording ends earlier than its stream."""
        start_ms = recording.end_ms or 0
        if until_ms - start_ms > GAP_OVER_MS:
            await self._lines.add_gap(
                recording, GapRow(start_ms=start_ms, length_ms=until_ms - start_ms, reason=reason)
            )

    # --- inside ---------------------------------------------------------------------------------------------------

    def _know(self, recording: Recording) -> None:
        self._recordings[recording.id] = recording

    def _completed(self, recording: Recording) -> None:
        if not recording.segments:
            self._forget(recording)

    def _forget(self, recording: Recording) -> None:
        recording.is_gone = True
        self._recordings.pop(recording.id, None)
        if self._newest.get(recording.channel) is recording:
            del self._newest[recording.channel]

    def _record_the_unrecorded(self) -> None:
        streams, self._unrecorded = self._unrecorded, {}
        for stream in streams.values():
            self._record(stream, late=True)

    async def _evict(self, wanted: int) -> int:
        return await self._eviction.free(list(self._recordings.values()), wanted)

    async def _sweep(self) -> None:
        """Counts and clears the spool, renews papers, forgets finished recordings."""
        recordings = list(self._recordings.values())
        keep_s = self._archive_settings.keep_after_upload_s
        await self._eviction.sweep(recordings, keep_s, ask=not self._uploader.is_failing)
        for recording in recordings:
            self._papers.tick(recording)
            idle = not recording.is_busy and not recording.is_live and not self._lines.is_busy(recording)
            if idle and not recording.folder.exists() and self._newest.get(recording.channel) is not recording:
                self._recordings.pop(recording.id, None)

    async def _retain(self) -> None:
        """Every ten minutes; sooner where limits changed, or something was busy."""
        self._limits_changed.clear()
        was_busy = [
            await delete_due(channel, policy, self._catalog, self.expire)
            for channel, policy in list(self._policies.items())
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if any(was_busy) else RETENTION_S):
                await self._limits_changed.wait()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """``work`` now and again until the end, whatever becomes of one turn."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - said, and tried again
                log.error("upkeep failed, trying again", error=repr(error))
            await asyncio.sleep(seconds)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
