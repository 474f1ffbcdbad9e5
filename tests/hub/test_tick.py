"""Ticker: one timer for all, none when nothing is parked."""

import asyncio
import time
from collections import Counter
from functools import partial
from itertools import pairwise

import pytest

from relay.hub import Load, Ticker
from relay.hub.tick import BUSY, IDLE, SHIFT, SHIFTS


async def test_everything_parked_is_called_once_at_the_next_tick() -> None:
    loop = asyncio.get_running_loop()
    ticker = Ticker(loop, 20)
    done = asyncio.Event()
    calls: list[str] = []
    ticker.park(lambda: calls.append("a"))
    ticker.park(lambda: (calls.append("b"), done.set())[1])
    assert calls == []
    await done.wait()
    assert calls == ["a", "b"]
    await asyncio.sleep(0.05)
    assert ticker.ticks == 1


async def test_parking_from_within_a_tick_waits_for_the_next_one() -> None:
    loop = asyncio.get_running_loop()
    ticker = Ticker(loop, 20)
    done = asyncio.Event()
    ticks: list[int] = []

    def again() -> None:
        ticks.append(ticker.ticks)
        if len(ticks) < 3:
            ticker.park(again)
        else:
            done.set()

    ticker.park(again)
    await done.wait()
    assert ticks == [1, 2, 3]


async def test_ticks_fall_on_multiples_of_the_interval() -> None:
    loop = asyncio.get_running_loop()
    first, second = Ticker(loop, 50), Ticker(loop, 50)
    done = asyncio.Event()
    times: list[float] = []
    first.park(lambda: times.append(loop.time()))
    await asyncio.sleep(0.01)
    second.park(lambda: (times.append(loop.time()), done.set())[1])
    await done.wait()
    assert all((time + 0.001) % 0.05 < 0.045 for time in times)


class FakeLoad(Load):
    """Says what it is told to, at every tick."""

    def __init__(self, share: float) -> None:
        super().__init__(1.0)
        self.said = share

    def end(self) -> bool:
        return True

    @property
    def share(self) -> float:
        return self.said


async def test_ticks_grow_longer_with_the_load_and_shorter_again() -> None:
    load = FakeLoad(0.9)
    ticker = Ticker(asyncio.get_running_loop(), 5, 20, load)
    assert ticker.interval_s == 0.005
    for said, wanted_s in ((0.9, 0.02), (BUSY, 0.02), ((IDLE + BUSY) / 2, 0.0125), (IDLE, 0.005), (0.0, 0.005)):
        load.said = said
        for _ in range(12):
            done = asyncio.Event()
            ticker.park(done.set)
            await done.wait()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert ticker.interval_s == pytest.approx(wanted_s, rel=0.02)


async def test_what_a_tick_does_is_measured_with_what_it_sends() -> None:
    """The bytes leave behind the callbacks: with a transport, of either loop, they are in the figure."""
    loop = asyncio.get_running_loop()
    told: list[str] = []

    class Noted(Load):
        def begin(self) -> None:
            told.append("begin")

        def end(self) -> bool:
            told.append("end")
            return False

    ticker = Ticker(loop, 5, 5, Noted(1.0))
    ticker.park(lambda: (told.append("read"), loop.call_soon(told.append, "sent"))[0])
    await asyncio.sleep(0.05)
    assert told == ["begin", "read", "sent", "end"]


async def test_many_take_turns_in_shifts_and_each_keeps_its_own() -> None:
    loop = asyncio.get_running_loop()
    ticker = Ticker(loop, 40)
    count = SHIFTS * SHIFT + 5
    called: list[list[int]] = [[] for _ in range(count)]
    at: list[float] = []
    left = count
    done = asyncio.Event()

    def member(number: int) -> None:
        nonlocal left
        called[number].append(ticker.ticks)
        if number == 0:
            at.append(loop.time())
        if len(called[number]) < 4:
            ticker.park(partial(member, number))
            return
        left -= 1
        if not left:
            done.set()

    for number in range(count):
        ticker.park(partial(member, number))
    await asyncio.wait_for(done.wait(), 10)
    shifts = Counter(map(tuple, called))
    assert len(shifts) == SHIFTS
    assert max(shifts.values()) <= SHIFT + 1
    assert all(later - earlier > 0.03 for earlier, later in pairwise(at))


async def test_a_few_share_one_shift() -> None:
    ticker = Ticker(asyncio.get_running_loop(), 10)
    done = [asyncio.Event() for _ in range(SHIFT)]
    for event in done:
        ticker.park(event.set)
    for event in done:
        await event.wait()
    assert ticker.ticks == 1


async def test_shifts_that_are_late_together_are_measured_once() -> None:
    loop = asyncio.get_running_loop()
    told: list[str] = []

    class Noted(Load):
        def begin(self) -> None:
            told.append("begin")

        def end(self) -> bool:
            told.append("end")
            return False

    ticker = Ticker(loop, 20, 20, Noted(1.0))
    for _ in range(2 * SHIFT):
        ticker.park(lambda: None)
    time.sleep(0.06)  # noqa: ASYNC251 - the loop is held up until both are due
    await asyncio.sleep(0.06)
    assert ticker.ticks == 2
    assert told == ["begin", "end"]
