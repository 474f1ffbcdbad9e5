"""Sender: order, retries, bounds; time is the test's own where it matters."""

import asyncio

import pytest

from relay.errors import DestinationError
from relay.hooks.event import Event
from relay.hooks.sender import Hook, Sender
from relay.secret import Secret
from relay.supervise import Backoff

HOOK = Hook(id="h", url=Secret("http://127.0.0.1:9/"), secret=Secret("s"))
QUICK = Backoff(first_s=0.01, most_s=0.02)


def event(number: int, at: float = 0.0, name: str = "ping") -> Event:
    return Event(id=str(number), name=name, at=at)


async def test_a_failing_event_is_tried_again_and_those_behind_it_wait_their_turn() -> None:
    taken: list[str] = []
    failures = iter([True, True, False, True, False, False])

    async def post(_: Hook, told: Event) -> None:
        if next(failures):
            raise DestinationError("the receiver is out")
        taken.append(told.id)

    sender = Sender(HOOK, post, backoff=QUICK, clock=lambda: 0.0)
    for number in range(3):
        sender.put(event(number))
    await asyncio.wait_for(sender.told(), 10)
    assert taken == ["0", "1", "2"]
    assert (sender.stats.delivered, sender.stats.failures, sender.stats.dropped) == (3, 3, 0)
    assert sender.stats.last_error == ""
    assert sender.waiting == 0
    await sender.close()


async def test_an_event_too_old_is_given_up_and_the_next_is_told() -> None:
    now = 0.0
    taken: list[str] = []

    async def post(_: Hook, told: Event) -> None:
        nonlocal now
        if told.id == "0":
            now += 400
            raise DestinationError("never")
        taken.append(told.id)

    sender = Sender(HOOK, post, backoff=QUICK, give_up_s=1000, clock=lambda: now)
    sender.put(event(0))
    sender.put(event(1, at=1200))
    await asyncio.wait_for(sender.told(), 10)
    assert taken == ["1"]
    assert (sender.stats.failures, sender.stats.dropped) == (3, 1)
    await sender.close()


async def test_the_queue_is_bounded_and_the_oldest_goes() -> None:
    gate = asyncio.Event()
    taken: list[str] = []

    async def post(_: Hook, told: Event) -> None:
        await gate.wait()
        taken.append(told.id)

    sender = Sender(HOOK, post, most=3)
    sender.put(event(0))
    await asyncio.sleep(0)  # it is being sent
    for number in range(1, 6):
        sender.put(event(number))
    assert (sender.waiting, sender.stats.dropped) == (4, 2)
    gate.set()
    await asyncio.wait_for(sender.told(), 10)
    assert taken == ["0", "3", "4", "5"]
    await sender.close()


async def test_a_fault_of_ours_is_no_end_and_shows_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    first = True

    async def post(_: Hook, __: Event) -> None:
        nonlocal first
        if first:
            first = False
            raise ValueError("http://user:password@host/")

    sender = Sender(HOOK, post, backoff=QUICK, clock=lambda: 0.0)
    sender.put(event(0))
    await asyncio.wait_for(sender.told(), 10)
    assert sender.stats.delivered == 1
    assert "password" not in capsys.readouterr().out
    await sender.close()


def test_a_hook_takes_what_it_asked_for() -> None:
    live = Event(id="1", name="channel.live", at=0, channel="talk")
    everywhere = Event(id="2", name="archive.safe", at=0)
    of_talk = Hook(id="h", url=HOOK.url, secret=HOOK.secret, channel="talk")
    of_safe = Hook(id="h", url=HOOK.url, secret=HOOK.secret, events=frozenset({"archive.safe"}))
    assert [hook.wants(live) for hook in (HOOK, of_talk, of_safe)] == [True, True, False]
    assert [hook.wants(everywhere) for hook in (HOOK, of_talk, of_safe)] == [True, False, True]
