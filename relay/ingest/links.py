"""Links: what every door in knows of channels' publishers: who they are, how their links do, whether they may come."""

import asyncio
from collections import Counter
from typing import Protocol, runtime_checkable

import structlog

from relay.errors import RefusedError
from relay.hub import Hub, Stream
from relay.ingest.admission import Admission
from relay.ingest.base import PublisherInfo
from relay.ingest.health import UNKNOWN, Health, LinkHealth

SAMPLE_S = 1.0
HIGH, ROOM = 0.7, 0.6  # of the capacity for live media: from the one on it is time to say so, below the other no more

log = structlog.get_logger("relay.ingest")


@runtime_checkable
class Informed(Protocol):
    """A publisher that can say who it is."""

    def info(self) -> PublisherInfo:
        """How it shows itself now."""


class Links:
    """One for all doors. ``bytes_received`` (by channel) is theirs to count.

    A hub.StreamListener: a channel's health lives as long as its stream, whatever door the media comes through.
    """

    def __init__(self, hub: Hub, admission: Admission) -> None:
        self.bytes_received: Counter[str] = Counter()
        self._hub = hub
        self._admission = admission
        self._health: dict[str, LinkHealth] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_high = False
        hub.listen(self)

    def start(self) -> None:
        """Sample once a second from now on."""
        self._sample()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def admit(self, channel: str) -> None:
        """May a publisher with the right key have ``channel`` now? Raises RefusedError."""
        try:
            self._hub.admit(channel)
        except RefusedError as error:
            self._admission.outcomes[channel, error.outcome] += 1
            raise

    def publisher(self, channel: str) -> PublisherInfo | None:
        """Who publishes ``channel`` now."""
        lease = self._hub.lease(channel)
        return lease.publisher.info() if lease is not None and isinstance(lease.publisher, Informed) else None

    def health(self, channel: str) -> Health:
        """How the link of the channel's publisher is doing."""
        health = self._health.get(channel)
        return UNKNOWN if health is None else health.look(asyncio.get_running_loop().time())

    def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        for name, health in self._health.items():
            lag_s = self._hub.stream(name).stats.arrival_lag_ms / 1000
            health.sample(loop.time(), self.bytes_received[name], lag_s)
        self._look_at_load()
        self._timer = loop.call_later(SAMPLE_S, self._sample)

    def _look_at_load(self) -> None:
        ratio = 0.0 if self._hub.load is None else self._hub.load.ratio
        is_high = ratio >= (ROOM if self._is_high else HIGH)
        if is_high == self._is_high:
            return
        self._is_high, percent = is_high, round(100 * ratio)
        if is_high:
            log.warning("near the capacity for live media", used_percent=percent)
        else:
            log.info("live media has room again", used_percent=percent)

    # --- hub.StreamListener -----------------------------------------------------------------------------------

    def stream_live(self, stream: Stream) -> None:
        self._health[stream.name] = LinkHealth()

    def stream_resumed(self, stream: Stream) -> None:
        """What was seen of the link before still counts."""
        away_s = self._health[stream.name].returned(asyncio.get_running_loop().time())
        log.info("media is back", channel=stream.name, away_s=round(away_s, 1))

    def stream_holding(self, stream: Stream) -> None:
        self._health[stream.name].stalled(asyncio.get_running_loop().time())
        log.warning("holding: no media from the publisher", channel=stream.name)

    def stream_offline(self, stream: Stream) -> None:
        self._health.pop(stream.name, None)
