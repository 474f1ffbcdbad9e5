"""Pulls: keeps what is pulled equal to what is configured, one supervised source a channel, for ever."""

import asyncio

import structlog

from relay.errors import DestinationError
from relay.ingest.hls_position import Position
from relay.ingest.hls_pull import HlsPull
from relay.ingest.rtmp_pull import RtmpPull
from relay.ingest.source import (
    YIELDED,
    Around,
    Attempt,
    SourceConfig,
    SourceState,
    SourceStatus,
    Telling,
    shown_url,
    taken,
)
from relay.supervise import Backoff, Supervisor

log = structlog.get_logger("relay.ingest.pull")

TURN_S = 1.0  # how often a source that waits for a publisher to go looks whether it has gone
REJECTED_S = 10.0  # a source that refuses is often one that is not live yet
CLOSE_S = 3.0


class Pull:
    """One source of one channel: a task from the start on, until ``end``."""

    def __init__(self, channel: str, config: SourceConfig, around: Around) -> None:
        self.config = config
        self._channel = channel
        self._around = around
        self._positions: dict[str, Position] = {}  # of HLS playlists, by name
        self._attempt: Attempt | None = None
        self._words = ""  # what is waited for
        self._bytes_before = around.bytes_received[channel]
        limits = around.settings.limits
        backoff = Backoff(limits.retry_first_s, limits.retry_most_s, min(REJECTED_S, limits.retry_most_s))
        self._supervisor = Supervisor(self._run_attempt, backoff, on_failure=self._failed)
        self._log = log.bind(channel=channel)
        self.task: asyncio.Task[None] | None = None

    def start(self, after: asyncio.Task[None] | None = None) -> None:
        """Begin, once ``after`` has ended."""
        self.task = asyncio.get_running_loop().create_task(self._run(after))

    async def _run(self, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait([after])
        await self._supervisor.run()

    def end(self, *, for_good: bool) -> None:
        """Stop. ``for_good``: its stream ends with it; else it is held, as for any publisher that vanished."""
        if for_good and self._attempt is not None:
            self._attempt.leave()
        if self.task is not None:
            self.task.cancel()

    def status(self) -> SourceStatus:
        supervisor = self._supervisor
        words = supervisor.last_error
        if self._words:
            words = f"{self._words} (before that: {words})" if words else self._words
        return SourceStatus(
            url=shown_url(self.config.url.reveal()),
            state=SourceState.IDLE if self._words else supervisor.state,
            last_error=words,
            attempts=supervisor.attempts,
            bytes_received=self._around.bytes_received[self._channel] - self._bytes_before,
            outcomes=dict(supervisor.outcomes),
        )

    async def _run_attempt(self) -> None:
        while self._around.hub.lease(self._channel) is not None:
            self._waiting(str(taken()))
            await asyncio.sleep(TURN_S)
        self._words = ""
        telling = Telling(self._live, self._waiting)
        common = self._channel, self.config, self._around, telling
        attempt: Attempt = RtmpPull(*common) if self.config.is_rtmp else HlsPull(*common, self._positions)
        self._attempt = attempt
        try:
            await attempt.run()
        finally:
            self._attempt = None
            self._words = ""

    def _live(self) -> None:
        if self._supervisor.state is SourceState.LIVE and not self._words:
            return
        self._words = ""
        self._supervisor.live()
        self._log.info("source live")

    def _waiting(self, words: str) -> None:
        if words != self._words:
            self._words = words
            self._log.info("source waits", reason=words)

    def _failed(self, error: Exception, wait_s: float) -> None:
        if isinstance(error, DestinationError) and error.outcome == YIELDED:
            self._supervisor.forget()  # nothing is wrong with the source
            self._log.info("source gave way", reason=str(error))
            return
        fault = None if isinstance(error, DestinationError) else error
        words = type(error).__name__ if fault else str(error)
        self._log.warning("source failed", reason=words, next_try_s=round(wait_s, 1), exc_info=fault)


class Pulls:
    """The sources of all channels. Used on the event loop only."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._pulls: dict[str, Pull] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._running = False

    def start(self) -> None:
        """Everything else is there: begin."""
        self._running = True
        for pull in self._pulls.values():
            pull.start()

    def configure(self, channel: str, config: SourceConfig | None) -> None:
        """Make ``config`` the channel's source, now; None: it has none."""
        known = self._pulls.get(channel)
        if known is not None:
            if known.config == config:
                return
            del self._pulls[channel]
            known.end(for_good=config is None)
            if known.task is not None:
                self._leaving[channel] = known.task
                known.task.add_done_callback(lambda task: self._left(channel, task))
        if config is not None:
            pull = self._pulls[channel] = Pull(channel, config, self._around)
            if self._running:
                pull.start(self._leaving.get(channel))

    def _left(self, channel: str, task: asyncio.Task[None]) -> None:
        if self._leaving.get(channel) is task:
            del self._leaving[channel]

    def status(self, channel: str) -> SourceStatus | None:
        """How the channel's source is doing; None where it has none."""
        pull = self._pulls.get(channel)
        return None if pull is None else pull.status()

    async def close(self) -> None:
        """End everything within CLOSE_S; streams are held, as their recordings go on after a restart."""
        self._running = False
        tasks = list(self._leaving.values())
        for pull in self._pulls.values():
            pull.end(for_good=False)
            if pull.task is not None:
                tasks.append(pull.task)
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)
