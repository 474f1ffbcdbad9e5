"""FittedStream: a stream made over to suit a platform, in one shape to the end, whatever its transcoders suffer."""

import asyncio
from collections.abc import Callable

import structlog

from relay.egress.base import FitConfig
from relay.egress.ffmpeg import Shape, shape_of
from relay.egress.transcoder import Transcoder
from relay.errors import DestinationError
from relay.hub import BacklogLimit, Stream
from relay.hub.batch import Tracks
from relay.media import Packet
from relay.supervise import Backoff, Supervisor

AWAY_S = 0.1

log = structlog.get_logger("relay.egress.fit")


class FittedStream:
    """Reads ``source`` and writes ``out`` until closed. ``on_silence`` is called while nothing comes out."""

    def __init__(
        self, source: Stream, fit: FitConfig, limit: BacklogLimit, is_away: Callable[[], bool] = lambda: False
    ) -> None:
        self.out = Stream(source.name)
        self.on_silence: Callable[[], None] = lambda: None
        self.failures = 0
        self.is_over = False
        self._source = source
        self._fit = fit
        self._publisher_is_away = is_away
        self._limit = limit
        self._shape: Shape | None = None
        self._cpu_s = 0.0
        self._transcoder: Transcoder | None = None
        self._supervisor = Supervisor(self._run_one, Backoff(0.5, 4.0, healthy_s=10.0), on_failure=self._failed)
        self.task = asyncio.get_running_loop().create_task(self._run())

    @property
    def cpu_s(self) -> float:
        """Processor seconds used by all transcoders so far."""
        return self._cpu_s + (self._transcoder.cpu_s if self._transcoder is not None else 0.0)

    @property
    def pid(self) -> int:
        """The process id of the running child; 0: none runs."""
        return self._transcoder.pid if self._transcoder is not None else 0

    def flush(self) -> None:
        """Nothing follows for now: let out what the child still has."""
        if self._transcoder is not None:
            self._transcoder.flush()

    def close(self) -> None:
        """End the child and ``out``; ``task`` is done when the child is reaped."""
        self.is_over = True
        self.task.cancel()

    async def _run(self) -> None:
        try:
            while not self.is_over:
                if self._publisher_is_away() and self.out.last_dts_ms is not None:
                    await asyncio.sleep(AWAY_S)  # what there is has been made over already
                    continue
                await self._supervisor.run()  # one unbroken piece after the other
                if self._publisher_is_away() and self.out.last_dts_ms is None:
                    await asyncio.sleep(AWAY_S)
        finally:
            self.is_over = True
            self.out.end()

    async def _run_one(self) -> None:
        self._transcoder = transcoder = Transcoder(
            self._source,
            self._limit,
            shape=self._shaped,
            write=self._write,
            on_silence=self._silent,
            is_away=self._publisher_is_away,
            floor_ms=(self.out.last_video_ms, self.out.last_audio_ms),
        )
        try:
            await transcoder.run(self._supervisor.live)
        finally:
            self._cpu_s += transcoder.cpu_s
            self._transcoder = None

    def _shaped(self, tracks: Tracks) -> Shape:
        """The first piece decides; what follows is made to look like it, but for a track that joins."""
        shape = shape_of(self._fit, tracks)
        before = self._shape
        if before is None or shape.has_video > before.has_video or shape.has_audio > before.has_audio:
            self._shape = before = shape
        return before

    def _write(self, packets: list[Packet]) -> None:
        self.out.write(packets)

    def _silent(self) -> None:
        self.on_silence()

    def _failed(self, error: Exception, wait_s: float) -> None:
        self.failures += 1
        fault = None if isinstance(error, DestinationError) else error
        words = type(error).__name__ if fault else str(error)
        log.warning(
            "transcoder failed", channel=self._source.name, reason=words, next_try_s=round(wait_s, 1), exc_info=fault
        )
