"""Pacer: what arrives in pieces of seconds is shown at the pace of its own clock, a little later than it could be."""

from collections.abc import Callable, Sequence

from relay.hub.tick import Ticker
from relay.media import Packet

LEAST_MS, MOST_MS = 300, 3000  # how far behind a piece's arrival showing it begins: half its length, within these
BEHIND_MS = 8000  # more than this waiting, and three pieces, is left out up to a keyframe
CATCH_UP = 0.05  # how much faster than its clock media is shown while more waits than need be


class Pacer:
    """Keeps packets until their time and hands them to ``show`` in runs, at each tick.

    The clock starts when a piece arrives, late by half its length, within bounds; a piece that comes too late stops
    it, and it goes on from there, so what is shown falls behind as far as the link needs. ``skipped`` counts packets
    that were left out because far more waited than a link that recovered can need.
    """

    def __init__(self, ticker: Ticker, clock: Callable[[], float], show: Callable[[Sequence[Packet]], None]) -> None:
        self._ticker = ticker
        self._clock = clock
        self._show = show
        self._waiting: list[Packet] = []
        self._base_ms: float | None = None  # clock minus DTS of what is shown then; None: nothing has been yet
        self._surplus_ms = 0.0
        self._ticked_ms = 0.0
        self._parked = False
        self._closed = False
        self.skipped = 0

    @property
    def waiting_ms(self) -> int:
        """Media time that is not shown yet, in ms."""
        waiting = self._waiting
        return max(0, max(waiting[-1].dts_ms, waiting[len(waiting) // 2].dts_ms) - waiting[0].dts_ms) if waiting else 0

    def add(self, packets: Sequence[Packet]) -> None:
        """Take a piece (at least one packet). Those of one track follow each other, those of two may overlap."""
        now_ms = self._clock() * 1000
        first_ms = packets[0].dts_ms
        length_ms = max(packet.dts_ms for packet in packets) - first_ms
        slack_ms = min(max(length_ms / 2, LEAST_MS), MOST_MS)
        due_ms = first_ms + self._base_ms if self._base_ms is not None else now_ms
        if self._base_ms is None:
            self._base_ms = now_ms + slack_ms - first_ms
        elif due_ms < now_ms and not self._waiting:
            self._base_ms = now_ms + min(slack_ms, LEAST_MS) - first_ms
        self._surplus_ms = max(0.0, due_ms - now_ms - 2 * slack_ms)
        is_behind = bool(self._waiting) and first_ms < self._waiting[-1].dts_ms
        self._waiting += packets
        if is_behind:
            self._waiting.sort(key=lambda packet: packet.dts_ms)
        if self.waiting_ms > max(BEHIND_MS, 3 * length_ms):
            self._skip(now_ms, length_ms + slack_ms)
        self._park()

    def _skip(self, now_ms: float, left_ms: float) -> None:
        """Leave out all but the last ``left_ms`` or so, from a keyframe on."""
        waiting = self._waiting
        has_video = any(packet.is_video for packet in waiting)
        from_ms = waiting[-1].dts_ms - left_ms
        for index, packet in enumerate(waiting):
            if packet.dts_ms >= from_ms and packet.is_keyframe and (packet.is_video or not has_video):
                self.skipped += index
                self._waiting = waiting[index:]
                self._base_ms = now_ms + LEAST_MS - packet.dts_ms
                return

    def _park(self) -> None:
        if not self._parked and self._waiting and not self._closed:
            self._parked = True
            self._ticked_ms = self._clock() * 1000
            self._ticker.park(self._tick)

    def _tick(self) -> None:
        self._parked = False
        if self._closed or self._base_ms is None:
            return
        now_ms = self._clock() * 1000
        if self._surplus_ms > 0:
            gained_ms = min(self._surplus_ms, (now_ms - self._ticked_ms) * CATCH_UP)
            self._surplus_ms -= gained_ms
            self._base_ms -= gained_ms
        until_ms = now_ms - self._base_ms
        waiting = self._waiting
        count = next((at for at, packet in enumerate(waiting) if packet.dts_ms > until_ms), len(waiting))
        self._waiting = waiting[count:]
        if count:
            self._show(waiting[:count])
        self._park()

    def flush(self) -> None:
        """Show all that waits, now, and take no more."""
        waiting, self._waiting = self._waiting, []
        self._closed = True
        if waiting:
            self._show(waiting)
