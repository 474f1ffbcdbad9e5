"""The supervisor repeats attempts, waits longer after each failure, and never lets one out."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import DestinationError, DestinationRejectedError
from relay.supervise import AttemptState, Backoff, Supervisor

QUICK = Backoff(first_s=0.001, most_s=0.002, rejected_s=30.0, healthy_s=30.0)


class Script:
    """Attempts that end as a list says: an error to raise, or None to end well. Knows the failures it was told."""

    def __init__(self, *ends: Exception | None, backoff: Backoff = QUICK, live_for: dict[int, float] | None = None):
        self.ends = list(ends)
        self.now = 1000.0
        self.live_for = live_for or {}
        self.failures: list[tuple[Exception, float]] = []
        self.bounds: list[tuple[float, float]] = []
        self.states: list[AttemptState] = []
        self.supervisor = Supervisor(
            self.attempt, backoff, on_failure=self.failed, uniform=self.uniform, clock=lambda: self.now
        )

    async def attempt(self) -> None:
        self.states.append(self.supervisor.state)
        number = self.supervisor.attempts
        if number in self.live_for:
            self.supervisor.live()
            self.states.append(self.supervisor.state)
            self.now += self.live_for[number]
        end = self.ends.pop(0)
        if end is not None:
            raise end

    def failed(self, error: Exception, wait_s: float) -> None:
        self.states.append(self.supervisor.state)
        self.failures.append((error, wait_s))

    def uniform(self, least: float, most: float) -> float:
        self.bounds.append((least, most))
        return 0.0


async def test_an_attempt_in_trouble_is_retrying_until_it_is_live_again() -> None:
    script = Script()
    supervisor = script.supervisor
    supervisor.live()
    assert supervisor.troubled(DestinationError("first", "connect"))
    assert not supervisor.troubled(DestinationError("second", "timeout"))
    assert (supervisor.state, supervisor.last_error) == (AttemptState.RETRYING, "second")
    assert supervisor.outcomes == {"connect": 1}
    supervisor.live()
    assert supervisor.last_error == "second"
    script.now += QUICK.healthy_s
    assert (supervisor.state, supervisor.last_error) == (AttemptState.LIVE, "")


async def test_an_attempt_that_ends_well_ends_the_run() -> None:
    script = Script(None, live_for={1: 1.0})
    assert script.supervisor.state is AttemptState.IDLE
    await script.supervisor.run()
    assert script.states == [AttemptState.CONNECTING, AttemptState.LIVE]
    assert script.supervisor.state is AttemptState.IDLE
    assert script.supervisor.attempts == 1
    assert script.supervisor.outcomes == {"ended": 1}
    assert script.supervisor.last_error == ""


async def test_failures_are_retried_counted_and_told() -> None:
    errors = [DestinationError("no route", "connect"), DestinationError("too slow", "stalled")]
    script = Script(*errors, None)
    await script.supervisor.run()
    assert [error for error, _ in script.failures] == errors
    assert script.supervisor.outcomes == {"connect": 1, "stalled": 1, "ended": 1}
    assert script.supervisor.last_error == "too slow"
    assert script.states == [
        AttemptState.CONNECTING,
        AttemptState.RETRYING,
        AttemptState.CONNECTING,
        AttemptState.RETRYING,
        AttemptState.CONNECTING,
    ]


async def test_the_bound_doubles_and_a_healthy_attempt_resets_it() -> None:
    fail = [DestinationError("x") for _ in range(8)]
    backoff = Backoff(first_s=1, most_s=5, rejected_s=30, healthy_s=30)
    script = Script(*fail, None, backoff=backoff, live_for={5: 29.9, 7: 30.0})
    await script.supervisor.run()
    assert script.bounds == [(0, 1), (0, 2), (0, 4), (0, 5), (0, 5), (0, 5), (0, 1), (0, 2)]


async def test_a_rejection_waits_at_least_its_own_time() -> None:
    script = Script(DestinationRejectedError("wrong key"), None)
    await script.supervisor.run()
    assert script.bounds == [(30.0, 30.001)]
    assert script.supervisor.outcomes == {"rejected": 1, "ended": 1}


async def test_a_fault_of_ours_is_retried_and_named_by_type_only() -> None:
    fault = KeyError("the stream key abc")
    script = Script(fault, None)
    await script.supervisor.run()
    assert script.failures[0][0] is fault
    assert script.supervisor.outcomes == {"internal": 1, "ended": 1}
    assert "KeyError" in script.supervisor.last_error
    assert "abc" not in script.supervisor.last_error


async def test_the_last_error_stays_until_live_for_long_enough_or_forgotten() -> None:
    script = Script(DestinationError("no route"), None)
    await script.supervisor.run()
    supervisor = script.supervisor
    supervisor.live()
    script.now += 29
    assert supervisor.last_error == "no route"
    script.now += 1
    assert supervisor.last_error == ""
    other = Script(DestinationError("no route"), None)
    await other.supervisor.run()
    other.supervisor.forget()
    assert other.supervisor.last_error == ""


async def test_cancelling_ends_it_while_attempting_and_while_waiting() -> None:
    async def attempt() -> None:
        await asyncio.sleep(60)

    running = Supervisor(attempt, on_failure=lambda error, wait_s: None)
    waiting = Script(DestinationRejectedError("wrong key"))
    waiting.supervisor = Supervisor(waiting.attempt, on_failure=waiting.failed, uniform=lambda least, most: most)
    for supervisor, state in ((running, AttemptState.CONNECTING), (waiting.supervisor, AttemptState.RETRYING)):
        task = asyncio.create_task(supervisor.run())
        await asyncio.sleep(0)
        assert supervisor.state is state
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert supervisor.state is AttemptState.IDLE


@given(st.integers(1, 10_000), st.booleans(), st.integers())
def test_waits_are_within_bounds_however_long_it_fails(failures: int, rejected: bool, seed: int) -> None:
    uniform = random.Random(seed).uniform
    wait_s = Backoff().wait_s(failures, rejected=rejected, uniform=uniform)
    least = 30.0 if rejected else 0.0
    assert least <= wait_s <= least + min(30.0, 2.0 ** min(failures - 1, 20))
