"""Alerts: turns what happens in the relay into events for webhooks."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from relay.archive.archive import Archive
from relay.database import GapRow
from relay.egress.base import DestinationState, DestinationStatus
from relay.hooks.hooks import Hooks
from relay.hub import Hub, Stream

log = structlog.get_logger("relay.control")

LOOK_EVERY_S = 1.0
UNSTORED_S = 60.0
NEARLY_FULL = 2.0  # free space, in reserves


class Alerts:
    """Told of streams and gaps as they happen; looks at destinations and archive once a second, if anybody cares."""

    def __init__(
        self,
        hooks: Hooks,
        hub: Hub,
        archive: Archive | None,
        channels: Callable[[], Iterable[str]],
        status: Callable[[str], list[DestinationStatus]],
    ) -> None:
        self._hooks = hooks
        self._archive = archive
        self._channels = channels
        self._status = status
        self._failed: set[tuple[str, str]] = set()  # destinations said to have failed
        self._at_risk = False
        self._timer: asyncio.TimerHandle | None = None
        hub.listen(self)
        if archive is not None:
            archive.on_gap(self._gap)

    def start(self) -> None:
        """Begin to look."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self.start)
        if self._hooks:
            try:
                self.look()
            except Exception:
                log.exception("looking for alerts failed")

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # --- hub.StreamListener -----------------------------------------------------------------------------------

    def stream_live(self, stream: Stream) -> None:
        self._hooks.tell("channel.live", stream.name)

    def stream_resumed(self, stream: Stream) -> None:
        self._hooks.tell("channel.resumed", stream.name, held_s=round(stream.stats.held_s, 1))

    def stream_holding(self, stream: Stream) -> None:
        self._hooks.tell("channel.holding", stream.name)

    def stream_offline(self, stream: Stream) -> None:
        self._hooks.tell("channel.offline", stream.name, said_goodbye=stream.ended_cleanly)

    # --- looking ----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """What has failed or recovered since the last look."""
        known: set[tuple[str, str]] = set()
        for channel in self._channels():
            for status in self._status(channel):
                known.add((channel, status.name))
                self._destination(channel, status)
        self._failed &= known
        problems = self._problems()
        if problems and not self._at_risk:
            self._hooks.tell("archive.at_risk", problems=problems)
        elif self._at_risk and not problems:
            self._hooks.tell("archive.safe")
        self._at_risk = bool(problems)

    def _destination(self, channel: str, status: DestinationStatus) -> None:
        key = (channel, status.name)
        if status.state is DestinationState.RETRYING and key not in self._failed:
            self._failed.add(key)
            told = {"destination": status.name, "platform": status.platform, "reason": status.last_error}
            self._hooks.tell("destination.failed", channel, **told)
        elif status.state is DestinationState.LIVE and key in self._failed:
            self._failed.discard(key)
            self._hooks.tell("destination.recovered", channel, destination=status.name, platform=status.platform)
        elif status.state in (DestinationState.IDLE, DestinationState.DISABLED):
            self._failed.discard(key)

    def _problems(self) -> list[str]:
        """What may cost recorded media, in words."""
        if self._archive is None:
            return []
        found, disk = self._archive.problems(), self._archive.disk
        waits_s = self._archive.oldest_unstored_s()
        if not found and waits_s > UNSTORED_S:
            found.append(f"segments wait for the object store, the oldest for {waits_s:.0f} s")
        if not found and disk.space.total and disk.space.free < NEARLY_FULL * disk.reserve:
            found.append(f"the spool disk is nearly full: {disk.space.free / 1e6:.0f} MB free")
        return found

    def _gap(self, channel: str, recording: str, gap: GapRow) -> None:
        told = {"recording": recording, "start_s": gap.start_ms / 1000, "length_s": gap.length_ms / 1000}
        self._hooks.tell("recording.gap", channel, **told, reason=gap.reason)
