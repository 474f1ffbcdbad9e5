"""Papers: what lies beside a recording's segments in the store: its playlist and its signed manifest."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import Executor

import structlog

from relay.archive import manifest, playlist
from relay.archive.playlist import PLAYLIST_NAME
from relay.archive.recording import Paper, Recording
from relay.archive.signing import Signer
from relay.archive.store import Store
from relay.archive.uploader import Upload, Uploader
from relay.database import GapRow, RecordingRow, SegmentRow
from relay.errors import StoreError

log = structlog.get_logger("relay.archive")

PLAYLIST_EVERY_S = 4.0
BACKLOG_EVERY_S = 60.0
SEGMENTS_A_SECOND = 200  # a playlist of days is renewed less often than one of minutes
RETRY_S = 10.0


class Papers:
    """Writes a recording's papers: at its end, and every so often before. One upload of each at a time."""

    def __init__(
        self, store: Store, uploader: Uploader, threads: Executor, signer: Signer, manifest_every_s: float
    ) -> None:
        self._store = store
        self._uploader = uploader
        self._threads = threads
        self._signer = signer
        self._manifest_every_s = manifest_every_s
        self._tasks: set[asyncio.Task[None]] = set()

    def renew(self, recording: Recording) -> None:
        """Something changed: at the end the papers follow at once, before that when ``tick`` finds them due."""
        if recording.is_gone:
            return
        recording.playlist.due = recording.manifest.due = True
        if recording.is_complete and recording.all_stored:
            self._write(recording, recording.playlist)
            self._write(recording, recording.manifest)

    def tick(self, recording: Recording) -> None:
        """Write what has been due long enough."""
        now = time.monotonic()
        # One that is complete waits for its last segments; its papers follow them at once.
        least_s = BACKLOG_EVERY_S if recording.is_complete and not recording.all_stored else PLAYLIST_EVERY_S
        every_s = max(least_s, len(recording.segments) / SEGMENTS_A_SECOND)
        if recording.playlist.due and now - recording.playlist.written_at >= every_s:
            self._write(recording, recording.playlist)
        if recording.manifest.due and now - recording.manifest.written_at >= self._manifest_every_s:
            self._write(recording, recording.manifest)

    async def lost(self, recording: Recording) -> bool:
        """Whether the store has a paper no more; it is written again then. Raises StoreError."""
        names = (PLAYLIST_NAME, manifest.KEY_NAME)
        loop = asyncio.get_running_loop()
        for name in names:
            if await loop.run_in_executor(self._threads, self._store.head, f"{recording.prefix}/{name}") is None:
                self.renew(recording)
                return True
        return False

    async def take_back(self, key: str) -> None:
        """Delete an object whose upload was under way while its recording was deleted; goes on until it is gone."""
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._store.delete, key)
            except StoreError as error:
                log.warning("deleting goes on later", key=key, error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def done(self) -> None:
        """Wait until what is being written is with the uploader."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _write(self, recording: Recording, paper: Paper) -> None:
        kept = recording.storable()
        last = kept[-1].seq if kept else -1
        if last < recording.listed:
            return  # one that came late, or that the store lost, is on its way: what papers name stays named
        recording.listed = last
        paper.due = paper.busy
        if paper.busy:
            return
        paper.busy = True
        paper.written_at = time.monotonic()
        task = asyncio.get_running_loop().create_task(self._render(recording, paper))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _render(self, recording: Recording, paper: Paper) -> None:
        if paper is recording.playlist:
            name, content_type, render = PLAYLIST_NAME, playlist.CONTENT_TYPE, self._playlist(recording)
        else:
            name, content_type, render = manifest.KEY_NAME, "application/json", self._manifest(recording)

        key = f"{recording.prefix}/{name}"

        async def done(_: int) -> None:
            paper.busy = False
            if recording.is_gone:
                await self.take_back(key)
                return
            if paper.due and recording.is_complete and recording.all_stored:
                self._write(recording, paper)

        try:
            data = await asyncio.get_running_loop().run_in_executor(self._threads, render)
        except (StoreError, OSError) as error:
            log.warning("not written yet", recording=recording.id, name=name, error=str(error))
            paper.busy, paper.due = False, True
            return
        if recording.is_gone:
            return
        order = recording.ended_at or time.time()
        self._uploader.add(Upload(key, content_type, data=data, order=order, replaces=True, stored=done))

    def _playlist(self, recording: Recording) -> Callable[[], bytes]:
        segments, complete = recording.storable(), recording.is_complete and recording.all_stored
        gaps = list(recording.gaps.values())
        return lambda: playlist.media_playlist(segments, gaps, complete=complete).encode()

    def _manifest(self, recording: Recording) -> Callable[[], bytes]:
        """Of what is stored now, to be made in a thread."""
        segments, complete = recording.storable(), recording.is_complete and recording.all_stored
        end_ms = round(segments[-1].start_ms + segments[-1].duration_s * 1000) if segments else 0
        gaps = [gap for _, gap in sorted(recording.gaps.items()) if complete or gap.start_ms < end_ms]
        row = RecordingRow(
            id=recording.id,
            channel=recording.channel,
            state="complete" if complete else "recording",
            started_at=recording.started_at,
            ended_at=recording.ended_at if complete else None,
            base_ms=recording.base_ms,
        )
        return lambda: self._signed(recording, row, segments, gaps)

    def _signed(self, recording: Recording, row: RecordingRow, segments: list[SegmentRow], gaps: list[GapRow]) -> bytes:
        inits = {segment.init_key: self._init(recording, segment.init_key) for segment in segments if segment.init_key}
        return manifest.build(
            row, segments, gaps, inits, complete=row.state == "complete", signer=self._signer, now=time.time()
        )

    def _init(self, recording: Recording, key: str) -> tuple[int, str]:
        """(size, SHA-256) of an init segment. Raises StoreError where neither spool nor store has it."""
        known = recording.init_facts.get(key)
        if known is None:
            try:
                data = (recording.folder / playlist.file_name(key)).read_bytes()
            except FileNotFoundError:
                data = self._store.get(key)
            known = recording.init_facts[key] = (len(data), hashlib.sha256(data).hexdigest())
        return known
