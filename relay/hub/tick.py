"""Ticker: one shared timer that lets every parked publisher read again, so wake-ups do not grow with streams."""

import asyncio
import math
from collections.abc import Callable

from relay.hub.load import Load

IDLE, BUSY = 0.025, 0.05  # of a processor: up to the one ticks are as short as asked for, from the other on longest
SHIFTS, SHIFT = 8, 32  # a tick works in so many shifts at most, and begins another when one has so many members


class Ticker:
    """Calls everything parked since the last tick, at multiples of ``interval_s`` on the loop's clock.

    Nothing parked, no timer: an idle relay does not wake. Many parked ones take turns in shifts, an equal time apart,
    so that whatever else the loop does waits for one shift and not for all; who parks while its shift is called stays
    in it. With ``load`` (which it measures), the interval grows from ``interval_ms`` to ``most_ms`` as that does: what
    a tick costs beside its packets is then spent half as often.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, interval_ms: int, most_ms: int = 0, load: Load | None = None
    ) -> None:
        self._loop = loop
        self._least_s = self.interval_s = interval_ms / 1000
        self._most_s = max(interval_ms, most_ms) / 1000
        self.load = load
        self._parked: list[list[Callable[[], None]]] = [[] for _ in range(SHIFTS)]
        self._timers: list[asyncio.TimerHandle | None] = [None] * SHIFTS
        self._called: int | None = None  # the shift whose members are being called
        self._is_measuring = False
        self.ticks = 0

    def park(self, resume: Callable[[], None]) -> None:
        """Call ``resume`` at the next tick, once. It must not raise."""
        shift = self._roomiest() if self._called is None else self._called
        self._parked[shift].append(resume)
        if self._timers[shift] is None:
            late_s = shift * self.interval_s / SHIFTS
            periods = math.floor((self._loop.time() - late_s) / self.interval_s) + 1
            self._timers[shift] = self._loop.call_at(periods * self.interval_s + late_s, self._tick, shift)

    def _roomiest(self) -> int:
        """The first shift that is not full, or else the smallest."""
        sizes = [len(members) for members in self._parked]
        return next((shift for shift, size in enumerate(sizes) if size < SHIFT), sizes.index(min(sizes)))

    def _tick(self, shift: int) -> None:
        self._timers[shift] = None
        self.ticks += 1
        parked, self._parked[shift] = self._parked[shift], []
        load, began_s = self.load, 0.0
        if load is not None:
            if not self._is_measuring:
                self._is_measuring = True
                load.begin()
                # What a tick writes leaves after the callbacks of its round: two rounds on, that is done.
                self._loop.call_soon(self._loop.call_soon, self._over)
            began_s = load.used()
        self._called = shift
        for resume in parked:
            resume()
        self._called = None
        if load is not None:
            load.own_s += load.used() - began_s

    def _over(self) -> None:
        assert self.load is not None
        self._is_measuring = False
        if self.load.end():
            busy = min(1.0, max(0.0, (self.load.share - IDLE) / (BUSY - IDLE)))
            wanted_s = self._least_s + busy * (self._most_s - self._least_s)
            self.interval_s += (wanted_s - self.interval_s) / 2
