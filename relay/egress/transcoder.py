"""Transcoder: one ffmpeg child for one unbroken piece of a stream: fed, read, watched, and buried whatever happens."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from relay import confine
from relay.egress.ffmpeg import Shape, command
from relay.errors import DestinationError, ProtocolError
from relay.hub import BacklogLimit, Batch, Stream, Subscription
from relay.hub.batch import Tracks
from relay.media import Packet
from relay.media.timeline import FileClock
from relay.protocol import flv

LOOK_EVERY_S = 0.5
SILENT_S = 2.0  # media went in and nothing has come out for this long: destinations need filler
HUNG_S = 6.0  # and for this long: the child is beyond help
FLUSH_S = 2.0
HOLE_MS = 2000  # a hole in time ends the piece
QUEUE_BYTES = 512 * 1024
MEMORY_BYTES = 4 * 1024**3  # of addresses, a third of them used for 2160 lines
OPEN_FILES = 8  # the three it is given, and its own copies of two of them
log = structlog.get_logger("relay.egress")
_has_told = False  # that children have the host's network; once is loud enough
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Transcoder:
    """Reads ``source`` (hub.Reader) from its last keyframe to a hole, or a change of tracks, or its end.

    ``shape``: tells what is wanted once the tracks are known. ``write``: gets what comes out, on the stream's
    timeline, each track's DTS above ``floor_ms``. ``on_silence``: called, again and again, while nothing does.
    """

    def __init__(
        self,
        source: Stream,
        limit: BacklogLimit,
        *,
        shape: Callable[[Tracks], Shape],
        write: Callable[[list[Packet]], None],
        on_silence: Callable[[], None],
        floor_ms: tuple[int | None, int | None] = (None, None),
        is_away: Callable[[], bool] = lambda: False,
    ) -> None:
        self.cpu_s = 0.0
        self._last_out = list(floor_ms)  # DTS by track, video first
        self._publisher_is_away = is_away
        self.pid = 0
        self._source = source
        self._limit = limit
        self._shape = shape
        self._write = write
        self._on_silence = on_silence
        self._subscription: Subscription | None = None
        self._queue: list[Batch] = []
        self._queued_bytes = 0
        self._wanted = asyncio.Event()
        self._is_over = False
        self._tracks: Tracks = (None, None)
        self._base_ms = 0
        self._last_ms: int | None = None
        self._taken_at = 0.0
        self._asked_at: float | None = None  # since when media went in and nothing came out
        self._words = b""  # the last that the child had to say

    async def run(self, live: Callable[[], None]) -> None:
        """Until the piece is over and flushed. Raises DestinationError where the child fails or hangs before."""
        self._subscription = self._source.subscribe(self, self._limit)
        try:
            await self._wanted.wait()
            if not self._queue:
                return
            process = await asyncio.create_subprocess_exec(
                *confine.command(command(self._shape(self._tracks)), memory_bytes=MEMORY_BYTES, open_files=OPEN_FILES),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={},  # it needs none, and there may be secrets in ours
            )
            self.pid = process.pid
            try:
                await self._converse(process, live)
            finally:
                self.cpu_s = _cpu_s(process.pid, self.cpu_s)
                await _bury(process)
        finally:
            self._subscription.close()

    # --- hub.Reader -----------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        """Queue one batch for the child, unless the piece is over."""
        self._taken_at = time.monotonic()
        if self._is_over:
            return
        if self._last_ms is None:
            self._tracks, self._base_ms = batch.closing, batch.first_dts_ms
        elif batch.closing != self._tracks or _has_hole(self._last_ms, batch):
            self._end()
            return
        self._last_ms = batch.last_dts_ms
        self._queue.append(batch)
        self._queued_bytes += batch.size
        if self._queued_bytes > QUEUE_BYTES and self._subscription is not None:
            self._subscription.pause()
        self._wanted.set()
        if self._publisher_is_away():
            self._end()  # there is no more than what the stream remembers

    def flush(self) -> None:
        """Nothing follows for now: end the piece, so that the child lets out what it has."""
        if self._last_ms is not None:
            self._end()

    def ended(self, error: Exception | None) -> None:
        """The source is over."""
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._wanted.set()

    # --- with the child ---------------------------------------------------------------------------------------------

    async def _converse(self, process: asyncio.subprocess.Process, live: Callable[[], None]) -> None:
        feeding = asyncio.create_task(self._feed(process))
        reading = asyncio.create_task(self._read(process, live))
        watching = asyncio.create_task(self._watch(process))
        listening = asyncio.create_task(self._listen(process))
        tasks = (feeding, reading, watching, listening)
        try:
            done, _ = await asyncio.wait(tasks[:3], return_when=asyncio.FIRST_COMPLETED)
            for task in (watching, feeding, reading):
                if task in done:
                    await task  # tells what went wrong
            if reading in done:
                await listening
                words = " ".join(self._words.decode("utf-8", "replace").split()) or "without a word"
                raise DestinationError(f"ffmpeg ended by itself: {words}", "transcoder")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reading, FLUSH_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _feed(self, process: asyncio.subprocess.Process) -> None:
        """Write what comes, as fast as the child takes it; the end of the piece is the end of its input."""
        out, subscription = process.stdin, self._subscription
        assert out is not None
        assert subscription is not None
        try:
            out.write(self._opening())
            while self._queue or not self._is_over:
                await self._wanted.wait()
                self._wanted.clear()
                batches, self._queue, self._queued_bytes = self._queue, [], 0
                for batch in batches:
                    out.write(batch.shared(("flv", self._base_ms), self._encoded))
                    self._asked_at = self._asked_at or time.monotonic()
                await out.drain()
                subscription.resume()
            out.close()
        except OSError:
            await asyncio.sleep(FLUSH_S)  # it is gone; reading its other end tells why

    def _opening(self) -> bytes:
        video, audio = self._tracks
        out = [flv.file_header(has_video=video is not None, has_audio=audio is not None)]
        out.append(flv.tag(flv.SCRIPT, 0, flv.metadata(self._tracks, {})))
        for type_id, track in ((flv.VIDEO, video), (flv.AUDIO, audio)):
            header = None if track is None else flv.sequence_header(track)
            if header is not None:
                out.append(flv.tag(type_id, 0, header))
        return b"".join(out)

    def _encoded(self, batch: Batch) -> bytes:
        return flv.encode_batch(batch.packets, batch.opening, self._base_ms)

    async def _read(self, process: asyncio.subprocess.Process, live: Callable[[], None]) -> None:
        """Give on what comes out, until nothing more does."""
        assert process.stdout is not None
        tags = flv.TagReader()
        depacketizer = flv.Depacketizer(FileClock())
        while data := await process.stdout.read(65536):
            self._asked_at = None
            try:
                found = [
                    depacketizer.feed(tag.type_id, tag.timestamp, tag.body)
                    for tag in tags.feed(data)
                    if tag.type_id != flv.SCRIPT
                ]
            except ProtocolError as error:
                raise DestinationError(f"ffmpeg wrote no FLV: {error}", "transcoder") from error
            packets = [self._placed(packet) for packet in found if packet is not None]
            new = [packet for packet in packets if self._is_new(packet)]
            if new:
                live()
                self._write(new)

    def _placed(self, packet: Packet) -> Packet:
        return packet._replace(dts_ms=packet.dts_ms + self._base_ms, pts_ms=packet.pts_ms + self._base_ms)

    def _is_new(self, packet: Packet) -> bool:
        """Whether it goes on; a child that replaces another begins with what is out already."""
        track = 0 if packet.is_video else 1
        last_ms = self._last_out[track]
        if last_ms is not None and packet.dts_ms <= last_ms:
            return False
        self._last_out[track] = packet.dts_ms
        return True

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while data := await process.stderr.read(4096):
            self._words = (self._words + data)[-300:]
            _tell_of_network(self._words)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.cpu_s = _cpu_s(process.pid, self.cpu_s)
            with contextlib.suppress(ProcessLookupError):
                confine.move_cpu_limit(process.pid, self.cpu_s)
            now = time.monotonic()
            is_asked = now - self._taken_at < 2 * LOOK_EVERY_S or self._queued_bytes > QUEUE_BYTES
            if self._asked_at is None or not is_asked:
                continue
            if now - self._asked_at > HUNG_S:
                raise DestinationError(f"ffmpeg took media for {HUNG_S:g} s and gave none back", "transcoder")
            if now - self._asked_at > SILENT_S:
                self._on_silence()


def _tell_of_network(words: bytes) -> None:
    """Say once that ffmpeg could not be cut off from the network, and what holds it then."""
    global _has_told
    if not _has_told and confine.NO_NAMESPACE.encode() in words:
        _has_told = True
        log.warning(
            "ffmpeg runs in the host's network: only its list of protocols (pipe) keeps it from dialling",
            reason=words.decode("utf-8", "replace").partition("\n")[0].rpartition(": ")[2],
            hint="let the relay make network or user namespaces",
        )


def _has_hole(last_ms: int, batch: Batch) -> bool:
    """Whether time is missing before or inside ``batch``."""
    if batch.last_dts_ms - last_ms <= HOLE_MS:
        return False
    for packet in batch.packets:
        if packet.dts_ms - last_ms > HOLE_MS:
            return True
        last_ms = max(last_ms, packet.dts_ms)
    return False


async def _bury(process: asyncio.subprocess.Process) -> None:
    """End the child's whole group, however it takes that, and reap it."""
    try:
        async with asyncio.timeout(FLUSH_S if process.stdin is None or process.stdin.is_closing() else 0):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _cpu_s(pid: int, before: float) -> float:
    """Processor seconds a process has used; ``before`` where it is gone. Fields 14 and 15 of proc(5)'s stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return before
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
