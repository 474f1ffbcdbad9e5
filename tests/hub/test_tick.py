"""Ticker: one timer for all, none when nothing is parked."""

import asyncio

from relay.hub import Ticker


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
