"""Hooks against a real HTTP server: signatures, order through an outage, slowness, redirects, forbidden addresses."""

import asyncio
import time
from pathlib import Path

import pytest

from relay.config import OutboundSettings, Settings
from relay.errors import AddressError, DestinationError
from relay.hooks.hooks import Hooks
from relay.hooks.sender import Hook
from relay.secret import Secret
from tests.hooks.receiver import Receiver
from tests.support.process import free_port

SECRET = "a-secret-of-the-test-1234"


def made(tmp_path: Path, *, private: bool = True, attempt_s: float = 10.0) -> Hooks:
    return Hooks(Settings(data_dir=tmp_path, outbound=OutboundSettings(allow_private=private)), attempt_s)


def hook(url: str, number: str = "h", **more: object) -> Hook:
    return Hook(id=number, url=Secret(url), secret=Secret(SECRET), **more)  # type: ignore[arg-type]


async def test_events_come_signed_and_in_order(tmp_path: Path) -> None:
    hooks = made(tmp_path)
    async with Receiver(SECRET) as receiver:
        hooks.configure([hook(receiver.url)])
        for number in range(20):
            hooks.tell("channel.live", f"c{number}", number=number)
        await receiver.names(20)
        assert [item["data"]["number"] for item in receiver.told] == list(range(20))
        assert len({item["id"] for item in receiver.told}) == 20
        assert receiver.faults == []
        await hooks.close()


async def test_an_outage_delays_and_loses_nothing(tmp_path: Path) -> None:
    hooks = made(tmp_path)
    port = free_port()
    hooks.configure([hook(f"http://127.0.0.1:{port}/x")])
    hooks.tell("channel.live", "talk")
    hooks.tell("channel.holding", "talk")
    until = time.monotonic() + 20
    while not hooks.stats()["h"][0].failures:
        assert time.monotonic() < until
        await asyncio.sleep(0.02)
    assert "cannot connect" in hooks.stats()["h"][0].last_error
    async with Receiver(SECRET, port) as receiver:
        receiver.status = 503
        await receiver.attempts(1)
        receiver.status = 200
        assert await receiver.names(2, within=60) == ["channel.live", "channel.holding"]
        assert {item["id"] for item in receiver.seen} == {item["id"] for item in receiver.told}
        assert receiver.faults == []
        await hooks.close()


async def test_a_slow_receiver_keeps_nobody_waiting(tmp_path: Path) -> None:
    hooks = made(tmp_path, attempt_s=0.5)
    async with Receiver(SECRET) as slow, Receiver(SECRET) as quick:
        slow.delay_s = 30
        hooks.configure([hook(slow.url, "slow"), hook(quick.url, "quick")])
        began = time.monotonic()
        for _ in range(3):
            hooks.tell("channel.live", "talk")
        assert time.monotonic() - began < 1
        assert len(await quick.names(3)) == 3
        await slow.attempts(2)
        assert "did not answer in time" in hooks.stats()["slow"][0].last_error
        await hooks.close()


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    hooks = made(tmp_path)
    async with Receiver(SECRET) as receiver, Receiver(SECRET) as other:
        receiver.status, receiver.headers = 307, {"Location": other.url}
        with pytest.raises(DestinationError, match="sends us elsewhere"):
            await hooks.test(hook(receiver.url))
        assert len(receiver.seen) == 1
        assert other.seen == []
    await hooks.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1"])
async def test_private_addresses_are_refused(host: str, tmp_path: Path) -> None:
    hooks = made(tmp_path, private=False)
    async with Receiver(SECRET) as receiver:
        with pytest.raises(AddressError, match=r"does not dial|never dials"):
            await hooks.test(hook(f"http://{host}:{receiver.port}/x"))
        assert receiver.seen == []
    await hooks.close()


async def test_a_hook_that_stays_keeps_what_waits_and_one_that_goes_does_not(tmp_path: Path) -> None:
    hooks = made(tmp_path)
    port = free_port()
    stays, goes = hook(f"http://127.0.0.1:{port}/stays", "stays"), hook(f"http://127.0.0.1:{port}/goes", "goes")
    hooks.configure([stays, goes])
    hooks.tell("channel.live", "talk")
    hooks.configure([stays])
    assert list(hooks.stats()) == ["stays"]
    async with Receiver(SECRET, port) as receiver:
        assert await receiver.names(1, within=60) == ["channel.live"]
        await hooks.close()
    assert len(receiver.seen) == 1


async def test_nobody_to_tell_costs_nothing(tmp_path: Path) -> None:
    hooks = made(tmp_path)
    assert not hooks
    hooks.tell("channel.live", "talk")
    await hooks.close()
