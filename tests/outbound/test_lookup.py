"""Lookups: addresses at once, names by the system's resolver, dead names in nobody's way."""

import asyncio
import json
import socket
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from relay.errors import AddressError
from relay.outbound import lookup as module
from relay.outbound.lookup import MOST, lookup
from tests.support.dns import own_network
from tests.support.process import Processes

DEAD_NAMES = """
    import asyncio, json, time
    import uvloop
    from relay.errors import AddressError
    from relay.outbound.address import resolve
    from tests.support.dns import SILENT, NameServer

    DEAD = [f"dead{number}.example" for number in range(8)]

    async def ask(name):
        try:
            return [str(item.sockaddr[0]) for item in await resolve(name, 80, allow_private=False, timeout_s=3)]
        except AddressError as error:
            return str(error)

    async def main():
        names = {name: [SILENT] for name in DEAD} | {"good.example": [["8.8.8.8"]]}
        async with NameServer(names) as server:
            dead = [asyncio.create_task(ask(name)) for name in DEAD + DEAD]
            await asyncio.sleep(0.2)
            good = await ask("good.example")
            # Each dead name is asked for once, however many want it.
            print(json.dumps({"good": good, "dead": await asyncio.gather(*dead), "asked": server.asked[DEAD[0]]}))

    uvloop.run(main())
"""


@pytest.mark.e2e
async def test_dead_names_keep_no_other_from_being_found(processes: Processes, tmp_path: Path) -> None:
    """Seen failing with the event loop's own getaddrinfo: two dead names blocked all others."""
    words = own_network(tmp_path, sys.executable, "-c", textwrap.dedent(DEAD_NAMES))
    child = processes.start(*words, name="lookups")
    await child.done(60)
    told = json.loads(child.output.read_text())
    assert told["good"] == ["8.8.8.8"]
    assert all("took longer than 3 s; check this server's DNS" in words for words in told["dead"])
    assert told["asked"] <= 2, "one question for A, one for AAAA"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "::1"])
async def test_an_address_in_any_spelling_needs_no_thread(host: str) -> None:
    before = threading.active_count()
    found = await lookup(host, 80)
    assert [item.sockaddr[0] for item in found] in (["127.0.0.1"], ["::1"])
    assert threading.active_count() == before


async def test_a_name_is_found_and_its_thread_ends() -> None:
    assert {str(item.sockaddr[0]) for item in await lookup("localhost", 80)} <= {"127.0.0.1", "::1"}
    with pytest.raises(OSError, match="not known"):
        await lookup("no-such-host.invalid", 80)
    assert not module._running
    for thread in threading.enumerate():
        if thread.name == "lookup":
            thread.join(5)
            assert not thread.is_alive()


async def test_too_many_at_once_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    def wait(host: str, port: int, flags: int = 0) -> list[module.Answer]:
        if flags:
            raise socket.gaierror
        let_go.wait(20)
        return []

    monkeypatch.setattr(module, "_ask", wait)
    waiting = [asyncio.create_task(lookup(f"host{number}.example", 80)) for number in range(MOST)]
    await asyncio.sleep(0)
    with pytest.raises(AddressError, match="64 other names have no answer yet"):
        await lookup("one-more.example", 80)
    waiting[0].cancel()  # who gives up takes nothing from others
    let_go.set()
    await asyncio.wait(waiting)
    assert [task.result() for task in waiting[1:]] == [[]] * (MOST - 1)
