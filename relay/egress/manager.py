"""EgressManager: keeps what runs equal to what is configured, channel by channel, while streams come and go."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import structlog

from relay.config import Settings
from relay.egress.base import (
    Attempt,
    DestinationConfig,
    DestinationState,
    DestinationStatus,
    DestinationTotals,
    Owner,
    shown_url,
)
from relay.egress.kinds import KINDS
from relay.egress.lint import Finding, Inspector
from relay.egress.sources import Sources
from relay.errors import DestinationError
from relay.hub import BacklogLimit, Hub, Stream, StreamState, Ticker
from relay.outbound.dial import TlsContext, shared_tls
from relay.supervise import Backoff, Supervisor

log = structlog.get_logger("relay.egress")

SWEEP_S = 1.0
CLOSE_S = 4.0
FILL_MS = 100
REJECTED_S = 30.0


class Destination:
    """One destination of one channel: a supervised task while its stream lives, its totals always.

    ``start`` and ``hang_up`` say what is wanted and return at once. Whatever still says goodbye then is let
    finish, and followed by a new start where one is wanted by that time: two connections never hold one key.
    """

    def __init__(
        self,
        channel: str,
        config: DestinationConfig,
        settings: Settings,
        tls: TlsContext,
        source: Callable[[Stream, DestinationConfig], Stream],
    ) -> None:
        self.config = config
        self._source = source
        self._limit: asyncio.TimerHandle | None = None
        self._holding_since = 0.0
        self._waited_enough = False
        self._settings = settings
        self._tls = tls
        self._totals = DestinationTotals()
        self._told_dropped = 0
        self._stream: Stream | None = None
        self._attempt: Attempt | None = None
        self._task: asyncio.Task[None] | None = None
        limits = settings.limits
        backoff = Backoff(limits.retry_first_s, limits.retry_most_s, max(REJECTED_S, limits.retry_most_s))
        self._supervisor = Supervisor(self._run_attempt, backoff, on_failure=self._failed)
        self._log = log.bind(channel=channel, destination=config.name)

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What runs now, until its last goodbye is said."""
        return self._task

    def start(self, stream: Stream) -> None:
        """A stream lives: begin attempts, as soon as whatever runs for the last one has ended."""
        if self._waited_enough and stream.state is StreamState.HOLDING:
            return
        if self._stream is None and self._attempt is not None:
            self._attempt.say_goodbye()  # the new stream matters more than the tail of the old
        self._stream = stream
        if self._task is None and self.config.enabled:
            self._task = asyncio.get_running_loop().create_task(self._supervisor.run())
            self._task.add_done_callback(self._ended)

    def change(self, config: DestinationConfig) -> None:
        """Go on with another configuration: what runs ends first, what is counted stays."""
        self.config = config
        self._supervisor.forget()
        stream = self._stream
        self.hang_up()
        if stream is not None:
            self.start(stream)

    def wait_for(self, config: DestinationConfig) -> None:
        """``config`` differs in its patience only: what runs goes on, and what waits has that much longer, or less."""
        self.config = config
        if self._limit is not None:
            self._limit.cancel()
            loop = asyncio.get_running_loop()
            left_s = config.hold.limit_s - (loop.time() - self._holding_since)
            self._limit = loop.call_later(max(0.0, left_s), self._hold_over)

    def holding(self) -> None:
        """The publisher is away: what runs is kept for as long as configured, then ended politely."""
        if self._limit is None and not self._waited_enough and self.config.enabled:
            loop = asyncio.get_running_loop()
            self._holding_since = loop.time()
            self._limit = loop.call_later(self.config.hold.limit_s, self._hold_over)

    def resumed(self, stream: Stream) -> None:
        """The publisher is back."""
        self._waited_enough = False
        self._no_limit()
        if self._stream is None:
            self.start(stream)

    def _hold_over(self) -> None:
        self._log.info("destination ended: the publisher did not return in time", limit_s=self.config.hold.limit_s)
        self._waited_enough = True
        self.hang_up()

    def _no_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def hang_up(self) -> None:
        """Not wanted any more: end what runs, politely where it is live."""
        self._no_limit()
        self._stream = None
        if self._task is not None and (self._attempt is None or not self._attempt.say_goodbye()):
            self._task.cancel()

    def stream_over(self) -> None:
        """The stream has ended: what is live may send what it still holds, all else ends."""
        self._waited_enough = False
        self._no_limit()
        self._stream = None
        if self._task is not None and (self._attempt is None or not self._attempt.finish()):
            self._task.cancel()

    def status(self) -> DestinationStatus:
        supervisor, attempt, kept = self._supervisor, self._attempt, self._totals.kept
        backlog_ms = (attempt.backlog_ms if attempt else 0) + (kept.backlog_ms if kept else 0)
        return DestinationStatus(
            name=self.config.name,
            platform=self.config.platform,
            url=shown_url(self.config),
            state=supervisor.state if self.config.enabled else DestinationState.DISABLED,
            last_error=supervisor.last_error,
            attempts=supervisor.attempts,
            bytes_sent=self._totals.bytes_sent - (attempt.unsent if attempt is not None else 0),
            backlog_s=backlog_ms / 1000,
            outcomes=dict(supervisor.outcomes),
            dropped_packets={"backlog": self._dropped},
        )

    def tell_drops(self) -> None:
        """Log what was dropped since last told. Called once a second while anything lives."""
        dropped, before = self._dropped, self._told_dropped
        if dropped > before:
            self._told_dropped = dropped
            self._log.warning(
                "dropped packets to the next keyframe: the platform reads too slowly", packets=dropped - before
            )

    @property
    def _dropped(self) -> int:
        attempt, kept = self._attempt, self._totals.kept
        return self._totals.dropped + (attempt.dropped if attempt else 0) + (kept.dropped if kept else 0)

    async def _run_attempt(self) -> None:
        assert self._stream is not None  # what fails without a stream is cancelled
        source = self._source(self._stream, self.config)
        owner = Owner(self._live, self._troubled, lambda: self._is_wanted)
        attempt = KINDS[self.config.kind](self.config, source, self._settings, self._totals, owner, self._tls)
        self._attempt = attempt
        try:
            await attempt.run()
        finally:
            self._attempt = None
            self.tell_drops()

    def _live(self) -> None:
        self._supervisor.live()
        self._log.info("destination live", platform=self.config.platform)

    def _troubled(self, error: DestinationError) -> None:
        if self._supervisor.troubled(error):
            self._log.warning("destination in trouble, media is kept for it", reason=str(error))

    def _failed(self, error: Exception, wait_s: float) -> None:
        fault = None if isinstance(error, DestinationError) else error
        words = type(error).__name__ if fault else str(error)
        self._log.warning("destination failed", reason=words, next_try_s=round(wait_s, 1), exc_info=fault)
        if self._stream is None and self._task is not None:
            self._task.cancel()  # it was sending the tail of a stream that is over: there is no next try

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._log.info("destination ended", bytes_sent=self._totals.bytes_sent)
        if self._stream is not None and self._is_wanted:
            self.start(self._stream)
        elif self._totals.kept is not None:
            self._totals.kept.clear()

    @property
    def _is_wanted(self) -> bool:
        return self._stream is not None and self.config.enabled


class Fitting(NamedTuple):
    """Transcoding of one channel: processor seconds and failures so far, and the process ids at work."""

    cpu_s: float
    failures: int
    children: tuple[int, ...]


class EgressManager:
    """All destinations of all channels (hub.StreamListener). Used on the event loop only."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._hub = hub
        self._settings = settings
        self._channels: dict[str, dict[str, Destination]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._sources: dict[str, Sources] = {}  # by channel, while it lives
        self._inspectors: dict[str, Inspector] = {}  # by channel, while it lives
        self._fit_cpu_s: defaultdict[str, float] = defaultdict(float)  # by channel, of streams that are over
        self._fit_failures: Counter[str] = Counter()
        self._ticker = Ticker(asyncio.get_running_loop(), FILL_MS)
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = False
        self._tls = shared_tls(settings)
        hub.listen(self)

    def configure(self, channel: str, configs: Sequence[DestinationConfig]) -> None:
        """Make ``configs`` the channel's destinations, now. Those that did not change never notice."""
        before = self._channels.get(channel, {})
        after: dict[str, Destination] = {}
        for config in configs:
            known = before.pop(config.name, None)
            if known is None:
                after[config.name] = Destination(channel, config, self._settings, self._tls, self._source)
            else:
                after[config.name] = known
                if known.config != config:
                    if replace(config, hold=replace(config.hold, limit_s=known.config.hold.limit_s)) == known.config:
                        known.wait_for(config)
                    else:
                        known.change(config)
        for gone in before.values():
            self._let_go(gone)
        self._channels[channel] = after
        if channel in self._sources:
            self._sources[channel].keep(configs)
        stream = self._hub.streams.get(channel)
        if stream is not None and stream.state is not StreamState.OFFLINE:
            self._start(stream)

    def remove(self, channel: str) -> None:
        """Forget a channel and end its destinations."""
        for gone in self._channels.pop(channel, {}).values():
            self._let_go(gone)

    def status(self, channel: str) -> list[DestinationStatus]:
        """How the channel's destinations are doing, in configured order; empty for an unknown channel."""
        return [destination.status() for destination in self._channels.get(channel, {}).values()]

    def findings(self, channel: str) -> list[Finding]:
        """What in the channel's stream does not suit its destinations."""
        inspector = self._inspectors.get(channel)
        return inspector.findings if inspector is not None else []

    def fitting(self, channel: str) -> Fitting:
        """What transcoding costs the channel."""
        sources = self._sources.get(channel)
        cpu_s, failures = self._fit_cpu_s[channel], self._fit_failures[channel]
        if sources is None:
            return Fitting(cpu_s, failures, ())
        return Fitting(cpu_s + sources.cpu_s, failures + sources.failures, tuple(sources.children))

    async def close(self) -> None:
        """End everything, politely where it is live, within CLOSE_S. Nothing starts afterwards."""
        self._closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for channel in tuple(self._channels):
            self.remove(channel)
        for sources in self._sources.values():
            self._leave(asyncio.get_running_loop().create_task(sources.close()))
        if self._leaving:
            _, late = await asyncio.wait(tuple(self._leaving), timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _start(self, stream: Stream) -> None:
        if self._closing:
            return
        for destination in self._channels.get(stream.name, {}).values():
            destination.start(stream)
            if stream.state is StreamState.HOLDING:
                destination.holding()
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _let_go(self, destination: Destination) -> None:
        destination.hang_up()
        task = destination.task
        if task is not None:
            self._leave(task)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _source(self, stream: Stream, config: DestinationConfig) -> Stream:
        """What a destination configured so reads of ``stream``."""
        sources = self._sources.get(stream.name)
        if sources is None:
            limits = self._settings.limits
            backlog = BacklogLimit(int(limits.backlog_s * 1000), limits.backlog_bytes)
            slates = self._settings.data_dir / "slates"
            sources = self._sources[stream.name] = Sources(stream, self._ticker, backlog, slates)
        return sources.of(config)

    def _sweep(self) -> None:
        """One timer for every destination's drop summary, while any stream lives."""
        self._sweeper = None
        busy = False
        for channel, destinations in self._channels.items():
            stream = self._hub.streams.get(channel)
            if destinations and stream is not None and stream.state is not StreamState.OFFLINE:
                busy = True
                for destination in destinations.values():
                    destination.tell_drops()
                self._inspect(stream, destinations)
        if busy:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _inspect(self, stream: Stream, destinations: dict[str, Destination]) -> None:
        inspector = self._inspectors.setdefault(stream.name, Inspector())
        configs = [destination.config for destination in destinations.values()]
        if stream.state is StreamState.LIVE:
            for item in inspector.look(stream, configs, asyncio.get_running_loop().time()):
                log.warning("the stream does not suit", channel=stream.name, **item._asdict())

    # --- hub.StreamListener -----------------------------------------------------------------------------------

    def stream_live(self, stream: Stream) -> None:
        self._start(stream)

    def stream_resumed(self, stream: Stream) -> None:
        """Destinations stayed, but for those that had waited long enough: these start afresh."""
        if not self._closing:
            for destination in self._channels.get(stream.name, {}).values():
                destination.resumed(stream)

    def stream_holding(self, stream: Stream) -> None:
        """Destinations are kept with filler, each for its own time."""
        sources = self._sources.get(stream.name)
        if sources is not None:
            sources.hold()
        for destination in self._channels.get(stream.name, {}).values():
            destination.holding()

    def stream_offline(self, stream: Stream) -> None:
        self._inspectors.pop(stream.name, None)
        sources = self._sources.pop(stream.name, None)
        if sources is not None:
            self._fit_cpu_s[stream.name] += sources.cpu_s
            self._fit_failures[stream.name] += sources.failures
            self._leave(asyncio.get_running_loop().create_task(sources.close()))
        for destination in self._channels.get(stream.name, {}).values():
            destination.stream_over()
