"""Load: how much of the one processor that live media can have it uses, so that the relay saves and refuses in time."""

import time
from collections.abc import Callable

LOOK_S = 1.0
KEPT = 0.7  # of what was known stays, at each look: some seconds decide, not a burst
STALE_S = 5.0
MOST = 2.0  # times what ticks take themselves: what they send takes less than that again


class Load:
    """Media runs between ``begin`` and ``end``, in the event loop's thread: one thread, so one processor at most.

    ``own_s``: what ticks took of that, added by whoever runs them. The rest is what they send, and whatever else the
    loop does at that moment, which must not pass for media when it is more than that can take.

    ``capacity``: the share of that processor above which everybody would suffer. ``used``: processor seconds of this
    thread; ``clock``: monotonic seconds.
    """

    def __init__(
        self,
        capacity: float,
        used: Callable[[], float] = time.thread_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self.used = used
        self._clock = clock
        self._began = self.own_s = 0.0
        self._spent_s = 0.0  # since the last look
        self._looked_at = clock()
        self._share = 0.0

    def begin(self) -> None:
        self._began, self.own_s = self.used(), 0.0

    def end(self) -> bool:
        """Whether there was a look, once a second: ``share`` is another now."""
        self._spent_s += min(self.used() - self._began, MOST * self.own_s)
        now = self._clock()
        passed_s = now - self._looked_at
        if passed_s < LOOK_S:
            return False
        share = self._spent_s / passed_s
        self._share = share if passed_s > STALE_S else KEPT * self._share + (1 - KEPT) * share
        self._spent_s, self._looked_at = 0.0, now
        return True

    @property
    def share(self) -> float:
        """Of one processor, 0 to 1."""
        return 0.0 if self._clock() - self._looked_at > STALE_S else self._share

    @property
    def ratio(self) -> float:
        """Of the capacity; from 1 on, whoever is not on the air yet is better refused."""
        return self.share / self._capacity
