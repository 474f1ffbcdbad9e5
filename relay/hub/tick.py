"""Ticker: one shared timer that lets every parked publisher read again, so wake-ups do not grow with streams."""

import asyncio
import math
from collections.abc import Callable

from relay.hub.load import Load

IDLE, BUSY = 0.025, 0.05  # of a processor: up to the one ticks are as short as asked for, from the other on longest


class Ticker:
    """Calls everything parked since the last tick, at multiples of ``interval_s`` on the loop's clock.

    Nothing parked, no timer: an idle relay does not wake. With ``load`` (which it measures), the interval grows from
    ``interval_ms`` to ``most_ms`` as that does: what a tick costs beside its packets is then spent half as often.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, interval_ms: int, most_ms: int = 0, load: Load | None = None
    ) -> None:
        self._loop = loop
        self._least_s = self.interval_s = interval_ms / 1000
        self._most_s = max(interval_ms, most_ms) / 1000
        self.load = load
        self._parked: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.ticks = 0

    def park(self, resume: Callable[[], None]) -> None:
        """Call ``resume`` at the next tick, once. It must not raise."""
        self._parked.append(resume)
        if self._timer is None:
            periods = math.floor(self._loop.time() / self.interval_s) + 1
            self._timer = self._loop.call_at(periods * self.interval_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.ticks += 1
        parked, self._parked = self._parked, []
        if self.load is not None:
            self.load.begin()
            # What a tick writes leaves after the callbacks of its round: two rounds on, that is done.
            self._loop.call_soon(self._loop.call_soon, self._over)
        for resume in parked:
            resume()

    def _over(self) -> None:
        assert self.load is not None
        if self.load.end():
            busy = min(1.0, max(0.0, (self.load.share - IDLE) / (BUSY - IDLE)))
            wanted_s = self._least_s + busy * (self._most_s - self._least_s)
            self.interval_s += (wanted_s - self.interval_s) / 2
