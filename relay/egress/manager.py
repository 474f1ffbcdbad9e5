"""EgressManager: keeps what runs equal to what is configured, channel by channel, while streams come and go."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Sequence

import structlog

from relay.config import Settings
from relay.egress.base import DestinationConfig, DestinationState, DestinationStatus, DestinationTotals
from relay.egress.rtmp import RtmpAttempt, client_tls
from relay.hub import Hub, Stream, StreamState
from relay.supervise import Backoff, Supervisor

log = structlog.get_logger("relay.egress")

SWEEP_S = 1.0
CLOSE_S = 4.0


class Destination:
    """One destination of one channel: its supervisor while the stream lives, its totals always."""

    def __init__(
        self,
        channel: str,
        config: DestinationConfig,
        settings: Settings,
        tls: Callable[[], Awaitable[ssl.SSLContext]],
    ) -> None:
        self.config = config
        self._tls = tls
        self._channel = channel
        self._settings = settings
        self._totals = DestinationTotals()
        self._attempt: RtmpAttempt | None = None
        self._task: asyncio.Task[None] | None = None
        self._told_dropped = 0
        limits = settings.limits
        self._supervisor = Supervisor(
            self._run_attempt,
            Backoff(
                first_s=limits.retry_first_s, most_s=limits.retry_most_s, rejected_s=max(30.0, limits.retry_most_s)
            ),
            on_failure=self._failed,
        )
        self._stream: Stream | None = None
        self._log = log.bind(channel=channel, destination=config.name)

    def start(self, stream: Stream) -> None:
        """Begin attempts for a stream that lives."""
        if self.config.enabled and (self._task is None or self._task.done()):
            self._stream = stream
            self._task = asyncio.get_running_loop().create_task(self._supervisor.run())

    async def stop(self) -> None:
        """End what runs, politely where it is established."""
        task, self._task = self._task, None
        if task is None:
            return
        if self._attempt is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._attempt.goodbye(), CLOSE_S)
        task.cancel()
        await asyncio.wait([task])

    def stream_over(self) -> None:
        """The stream has ended: an attempt still dialling or waiting has nothing to wait for."""
        task, attempt = self._task, self._attempt
        if (
            task is not None
            and (attempt is None or attempt.subscription is None)
            and self._supervisor.state is not (DestinationState.LIVE)
        ):
            task.cancel()

    def status(self) -> DestinationStatus:
        supervisor = self._supervisor
        subscription = self._attempt.subscription if self._attempt is not None else None
        dropped = self._totals.dropped + (subscription.dropped_packets if subscription is not None else 0)
        return DestinationStatus(
            name=self.config.name,
            platform=self.config.platform,
            url=self.config.url,
            state=supervisor.state if self.config.enabled else DestinationState.DISABLED,
            last_error=supervisor.last_error,
            attempts=supervisor.attempts,
            bytes_sent=self._totals.bytes_sent,
            backlog_s=subscription.backlog_ms / 1000 if subscription is not None else 0.0,
            outcomes=dict(supervisor.outcomes),
            dropped_packets={"backlog": dropped},
        )

    def tell_drops(self) -> None:
        """Log what was dropped since last told. Called once a second while anything lives."""
        dropped = self.status().dropped_packets["backlog"]
        if dropped > self._told_dropped:
            self._log.warning(
                "dropped to the next keyframe: the platform reads too slowly", packets=dropped - self._told_dropped
            )
            self._told_dropped = dropped

    async def _run_attempt(self) -> None:
        assert self._stream is not None
        self._attempt = RtmpAttempt(self.config, self._stream, self._settings, self._totals, self._live, self._tls)
        try:
            await self._attempt.run()
        finally:
            self.tell_drops()
            self._attempt = None

    def _live(self) -> None:
        self._supervisor.live()
        self._log.info("destination live", platform=self.config.platform)

    def _failed(self, error: Exception, wait_s: float) -> None:
        self._log.warning("destination failed", reason=str(error), next_try_s=round(wait_s, 1))


class EgressManager:
    """All destinations of all channels (hub.StreamListener). Used on the event loop only."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._hub = hub
        self._settings = settings
        self._channels: dict[str, dict[str, Destination]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = False
        self._tls: asyncio.Task[ssl.SSLContext] | None = None
        hub.listen(self)

    def configure(self, channel: str, configs: Sequence[DestinationConfig]) -> None:
        """Make ``configs`` the channel's destinations, now. Those that did not change never notice."""
        before = self._channels.get(channel, {})
        after: dict[str, Destination] = {}
        stream = self._hub.streams.get(channel)
        for config in configs:
            current = before.pop(config.name, None)
            if current is not None and current.config == config:
                after[config.name] = current
                continue
            if current is not None:
                self._leave(current)
            after[config.name] = fresh = Destination(channel, config, self._settings, self._tls_context)
            if stream is not None and stream.state is not StreamState.OFFLINE and not self._closing:
                fresh.start(stream)
        for gone in before.values():
            self._leave(gone)
        self._channels[channel] = after

    def remove(self, channel: str) -> None:
        """Forget a channel and end its destinations."""
        self.configure(channel, [])
        self._channels.pop(channel, None)

    def status(self, channel: str) -> list[DestinationStatus]:
        """How the channel's destinations are doing, in configured order; empty for an unknown channel."""
        return [destination.status() for destination in self._channels.get(channel, {}).values()]

    async def close(self) -> None:
        """End everything politely."""
        self._closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for destinations in self._channels.values():
            for destination in destinations.values():
                self._leave(destination)
        if self._leaving:
            await asyncio.wait(tuple(self._leaving))

    def _leave(self, destination: Destination) -> None:
        task = asyncio.get_running_loop().create_task(destination.stop())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _tls_context(self) -> ssl.SSLContext:
        """One context for all: reading the certificate store takes long enough to belong in a thread, once."""
        if self._tls is None or (self._tls.done() and self._tls.exception() is not None):
            self._tls = asyncio.create_task(asyncio.to_thread(client_tls, self._settings))
        return await asyncio.shield(self._tls)

    # --- hub.StreamListener -----------------------------------------------------------------------------------

    def stream_live(self, stream: Stream) -> None:
        if self._closing:
            return
        for destination in self._channels.get(stream.name, {}).values():
            destination.start(stream)
        if self._sweeper is None:
            self._sweep()

    def stream_resumed(self, stream: Stream) -> None:
        """Destinations stayed; their subscriptions go on by themselves."""

    def stream_holding(self, stream: Stream) -> None:
        """Destinations stay connected."""

    def stream_offline(self, stream: Stream) -> None:
        for destination in self._channels.get(stream.name, {}).values():
            destination.stream_over()

    def _sweep(self) -> None:
        self._sweeper = None
        busy = False
        for channel, destinations in self._channels.items():
            stream = self._hub.streams.get(channel)
            if stream is not None and stream.state is not StreamState.OFFLINE:
                busy = True
                for destination in destinations.values():
                    destination.tell_drops()
        if busy and not self._closing:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
