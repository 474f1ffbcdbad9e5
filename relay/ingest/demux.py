"""Demuxer: segments to packets by PyAV in child processes, so that hostile media costs a child and nothing else."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import NamedTuple

import structlog

from relay.config import LimitSettings
from relay.errors import LimitError, MediaError, ProtocolError
from relay.ingest.demux_wire import ANSWER, ASK
from relay.media import Codec
from relay.protocol import flv
from relay.protocol.parameter_sets import without_padding

WORKERS = 2
WAITING_MOST = 64  # segments, over all channels; each is at most LimitSettings.hls_segment_bytes
READ_S = 10.0
IDLE_S = 20.0
_CHILD = ("-m", "relay.ingest.demux_worker")
_MOST_ANSWER = 16 * 1024  # of its JSON

log = structlog.get_logger("relay.ingest.demux")


class Demuxed(NamedTuple):
    """One segment's FLV tags, timestamps in ms from 0.

    ``base``: the time of 0, in ticks of ``rate`` a second modulo ``wrap`` (0: it never wraps). ``length_ms``: from
    there to the end of the last frame.
    """

    base: int
    rate: int
    wrap: int
    length_ms: int
    tags: list[flv.Tag]


class DemuxStats:
    """Counters; metrics read them at scrape. ``restarts``: children that were killed or died."""

    __slots__ = ("refused", "restarts", "segments")

    def __init__(self) -> None:
        self.segments = 0
        self.refused = 0
        self.restarts = 0


class _DiedError(Exception):
    """The child is gone, or says what no child of ours says."""


class _Worker:
    """One child. Used by one segment at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.served = 0
        self.idle: asyncio.TimerHandle | None = None

    async def ask(self, init: bytes, data: bytes) -> tuple[dict[str, object], bytes]:
        """What the child says of one segment: its JSON, its FLV. Raises _DiedError."""
        out, back = self.process.stdin, self.process.stdout
        assert out is not None
        assert back is not None
        if out.is_closing():  # it was killed while it waited; uvloop raises RuntimeError for what is written there
            raise _DiedError("it died")
        try:
            out.writelines((ASK.pack(len(init), len(data)), init, data))
            await out.drain()
            text_size, flv_size = ANSWER.unpack(await back.readexactly(ANSWER.size))
            # More than was sent in can only be a child that has been taken over: FLV adds 20 bytes to each frame.
            if text_size > _MOST_ANSWER or flv_size > 2 * (len(init) + len(data)) + 4 * 1024 * 1024:
                raise _DiedError("its answer makes no sense")
            said = json.loads(await back.readexactly(text_size))
            tags = await back.readexactly(flv_size)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise _DiedError("it died") from error
        except ValueError as error:
            raise _DiedError("its answer makes no sense") from error
        if not isinstance(said, dict):
            raise _DiedError("its answer makes no sense")
        self.served += 1
        return said, tags

    async def end(self) -> None:
        """End the child's whole group, now, and reap it."""
        if self.idle is not None:
            self.idle.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        transport = self.process.stdin
        if transport is not None:
            transport.close()


class Demuxer:
    """A few children, started when there is something to read and ended when there is not for a while."""

    def __init__(self, limits: LimitSettings, workers: int = WORKERS, read_s: float = READ_S) -> None:
        self._most_bytes = limits.hls_segment_bytes
        self._most_ms = int(limits.hls_segment_s * 1000)
        self._read_s = read_s
        self._turns = asyncio.Semaphore(workers)
        self._waiting = 0
        self._idle: list[_Worker] = []
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False
        self.stats = DemuxStats()

    async def demux(self, data: bytes, init: bytes = b"") -> Demuxed:
        """One segment (with the init segment it needs, for MP4) as FLV tags.

        Raises MediaError in words, LimitError where it is too large, too long, or too many wait.
        """
        if len(data) + len(init) > self._most_bytes:
            raise LimitError("hls_segment", f"a segment of {len(data)} bytes; {self._most_bytes} are allowed")
        if self._waiting >= WAITING_MOST:
            raise LimitError("hls_demux_queue", "too many segments wait to be read; send this one again in a moment")
        self._waiting += 1
        try:
            async with self._turns:
                said, body = await self._ask(init, data)
        finally:
            self._waiting -= 1
        try:
            return self._checked(said, body)
        except MediaError:
            self.stats.refused += 1
            raise

    def _checked(self, said: dict[str, object], body: bytes) -> Demuxed:
        if "error" in said:
            raise MediaError(f"the segment cannot be read: {said['error']}")
        numbers = [said.get(name) for name in ("base", "rate", "wrap", "length_ms")]
        base, rate, wrap, length_ms = (number if isinstance(number, int) else -1 << 63 for number in numbers)
        if abs(base) >= 1 << 62 or rate <= 0 or wrap < 0 or length_ms < 0:
            raise MediaError("the segment cannot be read: its times make no sense")
        if length_ms > self._most_ms:
            raise MediaError(
                f"the segment is {length_ms / 1000:.1f} s long; {self._most_ms / 1000:g} s are allowed: "
                "set a shorter segment duration and keyframe interval in the encoder"
            )
        try:
            tags = [_tidy(tag) for tag in flv.TagReader().feed(body) if tag.type_id != flv.SCRIPT]
        except ProtocolError as error:
            raise MediaError(f"the segment cannot be read: {error}") from error
        self.stats.segments += 1
        return Demuxed(base, rate, wrap, length_ms, tags)

    async def _ask(self, init: bytes, data: bytes) -> tuple[dict[str, object], bytes]:
        while True:
            worker = await self._take()
            has_served = worker.served > 0
            try:
                async with asyncio.timeout(self._read_s):
                    answer = await worker.ask(init, data)
            except (_DiedError, TimeoutError) as error:
                await self._bury(worker)
                took_too_long = isinstance(error, TimeoutError)
                log.warning("demuxer restarted", reason="it took too long" if took_too_long else str(error))
                if took_too_long or not has_served:
                    self.stats.refused += 1
                    why = f"it takes more than {self._read_s:g} s" if took_too_long else "it breaks the reader"
                    raise MediaError(f"the segment cannot be read: {why}") from error
                # What earlier segments left behind may have killed it: this one gets a child of its own.
            except BaseException:
                await self._bury(worker)  # it may be in the middle of an answer nobody waits for
                raise
            else:
                self._rest(worker)
                return answer

    async def _bury(self, worker: _Worker) -> None:
        self.stats.restarts += 1
        await asyncio.shield(self._ending(worker))

    def _ending(self, worker: _Worker) -> "asyncio.Task[None]":
        task = asyncio.create_task(worker.end())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return task

    async def _take(self) -> _Worker:
        if self._idle:
            worker = self._idle.pop()
            if worker.idle is not None:
                worker.idle.cancel()
            return worker
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            *_CHILD,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},  # it needs none, and there may be secrets in ours
            cwd="/",
            start_new_session=True,
        )
        return _Worker(process)

    def _rest(self, worker: _Worker) -> None:
        """The child waits for the next segment, for a while."""
        if self._closed:
            self._ending(worker)
            return
        self._idle.append(worker)
        worker.idle = asyncio.get_running_loop().call_later(IDLE_S, self._retire, worker)

    def _retire(self, worker: _Worker) -> None:
        self._idle.remove(worker)
        self._ending(worker)

    async def close(self) -> None:
        """End the children."""
        self._closed = True
        while self._idle:
            self._ending(self._idle.pop())
        await asyncio.gather(*self._endings)


def _tidy(tag: flv.Tag) -> flv.Tag:
    """``tag`` with the same sequence header in every segment of one encoder."""
    body = tag.body
    if tag.type_id == flv.VIDEO and body[:2] == b"\x17\0":
        return tag._replace(body=body[:5] + without_padding(Codec.H264, body[5:]))
    if tag.type_id == flv.VIDEO and body[:5] == b"\x90hvc1":
        return tag._replace(body=body[:5] + without_padding(Codec.HEVC, body[5:]))
    return tag
