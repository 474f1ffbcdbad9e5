"""Known segments: taken once, remembered within bounds, forgotten when they failed or the stream is over."""

import asyncio

import pytest

from relay.hub.batch import Note
from relay.ingest.known import Known
from relay.ingest.segment import Key, Outcome


def key(number: int) -> Key:
    return Key(f"{number}.ts", "00")


async def taken() -> Outcome:
    return Outcome.STORED


async def failing() -> Outcome:
    await asyncio.sleep(0)
    raise ValueError("no media")


async def test_each_is_taken_once_and_failures_may_come_again() -> None:
    known = Known(most=3)
    task, is_known = known.once(key(1), taken)
    assert (await task, is_known) == (Outcome.STORED, False)
    assert known.once(key(1), failing) == (task, True)
    task, _ = known.once(key(2), failing)
    with pytest.raises(ValueError, match="no media"):
        await task
    task, is_known = known.once(key(2), taken)
    assert (await task, is_known) == (Outcome.STORED, False)


async def test_memory_is_bounded() -> None:
    known = Known(most=3)
    for number in range(10):
        await known.once(key(number), taken)[0]
    assert [known.once(key(number), taken)[1] for number in (9, 8, 7)] == [True] * 3
    assert not known.once(key(1), taken)[1]


async def test_notes_are_learnt_and_all_is_forgotten() -> None:
    known = Known()
    assert known.learn([Note(key(1).note(), 5), Note("else", 1)]) == [key(1)]
    assert (known.kept(key(1)), known.kept(key(2))) == (5, None)
    await known.once(key(3), taken)[0]
    known.forget()
    assert known.kept(key(1)) is None
    assert not known.once(key(3), taken)[1]
