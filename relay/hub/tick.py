"""Ticker: one shared timer that lets every parked publisher read again, so wake-ups do not grow with streams."""

import asyncio
import math
from collections.abc import Callable


class Ticker:
    """Calls everything parked since the last tick, at multiples of ``interval_ms`` on the loop's clock.

    Nothing parked, no timer: an idle relay does not wake.
    """

    __slots__ = ("_interval_s", "_loop", "_parked", "_timer", "ticks")

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_ms: int) -> None:
        self._loop = loop
        self._interval_s = interval_ms / 1000
        self._parked: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.ticks = 0

    def park(self, resume: Callable[[], None]) -> None:
        """Call ``resume`` at the next tick, once. It must not raise."""
        self._parked.append(resume)
        if self._timer is None:
            periods = math.floor(self._loop.time() / self._interval_s) + 1
            self._timer = self._loop.call_at(periods * self._interval_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.ticks += 1
        parked, self._parked = self._parked, []
        for resume in parked:
            resume()
