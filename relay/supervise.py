"""Supervisor: runs one kind of attempt again and again; owns its state, last error, totals and the waits between."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from relay.errors import DestinationError
from relay.redaction import known


class AttemptState(StrEnum):
    """IDLE (nothing to do) → CONNECTING → LIVE; a failure leads to RETRYING and back; DISABLED by the owner."""

    IDLE = "idle"
    CONNECTING = "connecting"
    LIVE = "live"
    RETRYING = "retrying"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts, in seconds: full jitter below a doubling bound; rejections wait at least their own."""

    first_s: float = 1.0
    most_s: float = 30.0
    rejected_s: float = 30.0
    healthy_s: float = 30.0  # live this long, and the bound starts over

    def wait_s(self, failures: int, *, rejected: bool, uniform: Callable[[float, float], float]) -> float:
        """How long to wait after the ``failures``-th failure in a row (1 is the first)."""
        bound = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 20))
        if rejected:
            return uniform(self.rejected_s, self.rejected_s + bound)
        return uniform(0.0, bound)


class Supervisor:
    """Repeats ``attempt`` until cancelled or until it ends by itself without an error.

    An attempt calls ``live()`` when media flows. ``on_failure(error, wait_s)`` is told of each failure before the
    wait in seconds that follows it: a DestinationError is the third party's, anything else a fault of ours that
    wants a traceback in the log. It must not raise. Nothing but CancelledError leaves ``run``.
    """

    def __init__(
        self,
        attempt: Callable[[], Awaitable[None]],
        backoff: Backoff | None = None,
        *,
        on_failure: Callable[[Exception, float], None],
        uniform: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._attempt = attempt
        self._backoff = backoff or Backoff()
        self._on_failure = on_failure
        self._uniform = uniform
        self._clock = clock or asyncio.get_running_loop().time
        self._live_since: float | None = None
        self._last_error = ""
        self.state = AttemptState.IDLE
        self.attempts = 0
        self.outcomes: Counter[str] = Counter()

    @property
    def last_error(self) -> str:
        """Why the last failed attempt failed; empty when none has, or once live for long enough to forget it."""
        return "" if self._is_healthy() else self._last_error

    def forget(self) -> None:
        """What failed so far is no longer of interest: the owner has changed what is attempted."""
        self._last_error = ""

    def live(self) -> None:
        """Media flows: the attempt has succeeded so far."""
        self.state = AttemptState.LIVE
        self._live_since = self._clock()

    def troubled(self, error: DestinationError) -> bool:
        """The running attempt goes on trying to get over ``error``, until it is ``live`` again. True: this is news."""
        is_news = self.state is not AttemptState.RETRYING
        if is_news:
            self.outcomes[error.outcome] += 1
        self.state = AttemptState.RETRYING
        self._live_since = None
        self._last_error = known.censor(str(error))
        return is_news

    async def run(self) -> None:
        """Attempt, wait, attempt … until an attempt ends without an error. One run at a time."""
        failures = 0
        try:
            while True:
                self.state = AttemptState.CONNECTING
                self._live_since = None
                self.attempts += 1
                failure: Exception
                try:
                    await self._attempt()
                except DestinationError as error:
                    outcome, failure, words = error.outcome, error, known.censor(str(error))
                except Exception as error:  # noqa: BLE001 - a fault of ours is told to the owner, and tried again
                    # Only the type: the text of a stranger's exception may hold anything, keys too.
                    outcome, failure = "internal", error
                    words = f"an internal error ({type(error).__name__}); the log has its traceback"
                else:
                    self.outcomes["ended"] += 1
                    return
                self.outcomes[outcome] += 1
                self._last_error = words
                failures = 1 if self._is_healthy() else failures + 1
                self._live_since = None
                self.state = AttemptState.RETRYING
                wait_s = self._backoff.wait_s(failures, rejected=outcome == "rejected", uniform=self._uniform)
                self._on_failure(failure, wait_s)
                await asyncio.sleep(wait_s)
        finally:
            self.state = AttemptState.IDLE
            self._live_since = None

    def _is_healthy(self) -> bool:
        """The running attempt, or the one that just failed, has been live long enough to be trusted."""
        return self._live_since is not None and self._clock() - self._live_since >= self._backoff.healthy_s
