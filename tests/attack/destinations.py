"""Hostile destinations, sources and webhooks: every kind, a thousand times, beside honest ones of the same stream.

What must be left of them: nothing. And each is shown in the state it is in, with an error that says why.
"""

import asyncio
import contextlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

import aiohttp

from tests.attack.honest import Honest
from tests.attack.hosts import Hosts
from tests.chaos.bench import Bench
from tests.support.hostile import KINDS, Kind
from tests.support.hostile_http import HTTP_KINDS
from tests.support.proc import Load, load
from tests.support.relay import Relay

CHANNEL = "c0"
MOST_MIB, QUICK_MIB = 16, 48
WITHIN_S, QUICK_S = 900.0, 40.0  # for the cycles of one kind, or of all in the short run
SETTLE_S = 40.0
AT_ONCE = 40
# Attempts follow each other at once and time out soon, or a thousand of them would take days.
QUICKER = {
    "LIMITS__DIAL_S": 0.5,
    "LIMITS__WRITE_STALL_S": 1,
    "LIMITS__RETRY_FIRST_S": 0.1,
    "LIMITS__RETRY_MOST_S": 0.2,
    "LIMITS__HTTP_DEADLINE_S": 3,
    "LIMITS__LATE_BYTES": 1024 * 1024,  # of 40 at once
    "LIVE__MEMORY_BYTES": 1024 * 1024,  # what viewers may go back to grows with time, not with attempts
}
HTTP = {f"http: {name}": kind for name, kind in HTTP_KINDS.items()}


class Door(ABC):
    """One way of having the relay dial a hostile host, many times over. ``name`` is for the table."""

    name = ""
    kinds: dict[str, Kind]
    cycles = 1000

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._made: list[str] = []
        self._number = 0

    def _fresh(self, letter: str) -> str:
        self._number += 1
        name = f"{letter}{self._number}"
        self._made.append(name)
        return name

    @abstractmethod
    async def open(self, url: str) -> str:
        """One more; its name."""

    @abstractmethod
    async def told(self) -> dict[str, tuple[str, str]]:
        """The state and last error of each, by name."""

    @abstractmethod
    async def again(self, kind: Kind) -> None:
        """Have those try now that would wait for long."""

    @abstractmethod
    async def close(self) -> None:
        """Remove all."""


class Destinations(Door):
    name = "destinations"
    kinds = KINDS

    async def open(self, url: str) -> str:
        name = self._fresh("h")
        await self._relay.add_destination(CHANNEL, name, url, f"hostile-key-{self._number}", method="PUT")
        return name

    async def told(self) -> dict[str, tuple[str, str]]:
        shown = (await self._relay.channel(CHANNEL))["destinations"]
        return {item["name"]: (item["state"], item["last_error"]) for item in shown if item["name"] in self._made}

    async def again(self, kind: Kind) -> None:
        if kind.rejects:
            for name in self._made:
                self._number += 1
                body = {"key": f"hostile-key-{self._number}"}
                await self._relay.api("PATCH", f"/channels/{CHANNEL}/destinations/{name}", body)

    async def close(self) -> None:
        for name in self._made:
            await self._relay.api("DELETE", f"/channels/{CHANNEL}/destinations/{name}")
        self._made.clear()


class Uploads(Destinations):
    name = "HLS destinations"
    kinds = HTTP


class Sources(Door):
    name = "RTMP sources"
    kinds = KINDS

    async def open(self, url: str) -> str:
        name = self._fresh("s")
        await self._relay.add_channel(name, source={"url": url if url.startswith("http") else f"{url}/name"})
        return name

    async def told(self) -> dict[str, tuple[str, str]]:
        found = [(name, (await self._relay.channel(name))["source"]) for name in self._made]
        return {name: (source["state"], source["last_error"]) for name, source in found}

    async def again(self, kind: Kind) -> None:
        """They come again by themselves, soon."""

    async def close(self) -> None:
        for name in self._made:
            await self._relay.api("DELETE", f"/channels/{name}")
        self._made.clear()


class Playlists(Sources):
    name = "HLS sources"
    kinds = HTTP


class Webhooks(Door):
    name = "webhooks"
    kinds = HTTP

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay)
        self._errors: dict[str, str] = {}

    async def open(self, url: str) -> str:
        id_: str = (await self._relay.api("POST", "/webhooks", {"url": url, "channel": CHANNEL}))["id"]
        self._made.append(id_)
        return id_

    async def told(self) -> dict[str, tuple[str, str]]:
        return {id_: ("", self._errors.get(id_, "")) for id_ in self._made}

    async def again(self, kind: Kind) -> None:
        headers = {"Authorization": f"Bearer {self._relay.token}"}
        base = f"http://127.0.0.1:{self._relay.http_port}/api/v1/webhooks"
        async with aiohttp.ClientSession(headers=headers) as session:

            async def test(id_: str) -> None:
                async with session.post(f"{base}/{id_}/test") as answer:
                    told = await answer.json()
                    self._errors[id_] = "" if told["delivered"] else str(told["words"])

            await asyncio.gather(*(test(id_) for id_ in self._made))

    async def close(self) -> None:
        for id_ in self._made:
            await self._relay.api("DELETE", f"/webhooks/{id_}")
        self._made.clear()


class Siege:
    """All doors of one relay, all kinds of hosts, and what was found wrong."""

    def __init__(self, bench: Bench, relay: Relay, hosts: Hosts) -> None:
        self.bench = bench
        self.relay = relay
        self.hosts = hosts
        self.wrong: list[str] = []
        self.cycles: dict[str, int] = {}

    async def cycle(self, door: Door, names: Sequence[str], each: int, cycles: int) -> None:
        """Have ``door`` dial each of ``names``, ``each`` at a time, until that has happened ``cycles`` times."""
        before = self.hosts.counts()
        owner: dict[str, str] = {}
        for name in names:
            for _ in range(each):
                owner[await door.open(self.hosts.urls[name])] = name
        seen: dict[str, set[str]] = {name: set() for name in names}
        until = time.monotonic() + (QUICK_S if self.bench.quick else WITHIN_S)
        while True:
            await asyncio.gather(*(door.again(door.kinds[name]) for name in names[:1]))
            for one, (state, error) in (await door.told()).items():
                if one in owner:
                    seen[owner[one]] |= {error} - {""}
                    if state in ("idle", "disabled"):
                        self.wrong.append(f"{door.name}, {owner[one]}: {state}")
            counts = self.hosts.counts()
            made = {name: counts[name][0] - before[name][0] for name in names}
            if all(made[name] >= cycles and (seen[name] or not _fails(door, name)) for name in names):
                break
            if time.monotonic() > until:
                self.wrong += [
                    f"{door.name}, {name}: {made[name]} of {cycles}, errors {seen[name]}"
                    for name in names
                    if made[name] < cycles or not seen[name]
                ]
                break
            await asyncio.sleep(0.2)
        for name in names:
            label = f"{door.name}, {name}"
            self.cycles[label] = self.cycles.get(label, 0) + made[name]
            wrong = [error for error in seen[name] if not _is_right(door, name, error)]
            # A host that yields to all others on this machine is late sometimes, whatever kind it is.
            late = [error for error in wrong if "(waited " in error and error.isprintable()]
            if len(wrong) > len(late) or len(late) == len(seen[name]) > 0:
                self.wrong += [f"{label}: {error!r}" for error in wrong]
        await door.close()

    async def settled(self, like: tuple[Load, float] | None = None) -> tuple[Load, float]:
        """(what the process holds, tasks) once nothing hostile is left, or ``like`` is reached."""
        until = time.monotonic() + (SETTLE_S if like else 5.0)
        while True:
            found = load(self.relay.pid), (await self.relay.metrics())["relay_tasks"]
            calm = like is None or (
                found[0].files <= like[0].files and found[0].threads <= like[0].threads and found[1] <= like[1]
            )
            if (like is not None and calm) or time.monotonic() > until:
                return found
            await asyncio.sleep(0.5)


def _fails(door: Door, name: str) -> bool:
    """Whether this kind is an error by this door. What follows a 200 is nothing to whoever pushes."""
    return bool(door.kinds[name].words) or isinstance(door, Playlists)


def _is_right(door: Door, name: str, error: str) -> bool:
    words = door.kinds[name].words
    if not error.isprintable() or len(error) > 1000 or "internal error" in error:
        return False
    if isinstance(door, Sources):
        return True  # it is played from, which other words are said of
    if name in KINDS:
        return words in error
    return re.search(words or "exchange with|did not answer", error) is not None


@contextlib.asynccontextmanager
async def besieged(bench: Bench) -> AsyncIterator[Siege]:
    hosts = Hosts(bench.processes, bench.folder / "hosts")
    await hosts.start()
    async with Honest(bench, OUTBOUND__CA_FILE=hosts.authorities, **QUICKER) as honest:
        yield Siege(bench, honest.relay, hosts)
    said = hosts.end()
    bench.figure("what went wrong with the hostile hosts themselves", said[-300:] or "nothing", "nothing", not said)


async def run(bench: Bench) -> None:
    async with besieged(bench) as siege:
        relay = siege.relay
        # The short run leaves out what tests/e2e/test_hostile.py has as well.
        every = (Destinations, Uploads) if bench.quick else (Destinations, Uploads, Sources, Playlists, Webhooks)
        doors: list[Door] = [kind(relay) for kind in every]
        for door in doors:  # what is made once, and stays: threads, contexts, code
            if bench.quick:
                await siege.cycle(door, _kinds(bench, door), 1, 1)
                continue
            for name in _kinds(bench, door):  # and as much memory as so many at once take: it is not given back
                await siege.cycle(door, [name], AT_ONCE, AT_ONCE)
        before, tasks_before = calm = await siege.settled()
        for door in doors:
            if bench.quick:
                await siege.cycle(door, _kinds(bench, door), 1, 3)
                continue
            for name in _kinds(bench, door):
                await siege.cycle(door, [name], AT_ONCE, door.cycles)
        after, tasks = await siege.settled(calm)
        metrics = await relay.metrics()
        _figures(bench, siege, doors)
        bench.figure(
            "files open, before and after", f"{before.files}, {after.files}", "0 more", after.files <= before.files
        )
        bench.figure("tasks, before and after", f"{tasks_before:g}, {tasks:g}", "0 more", tasks <= tasks_before)
        threads = f"{before.threads}, {after.threads}"
        bench.figure("threads, before and after", threads, "0 more", after.threads <= before.threads)
        more = (after.memory - before.memory) / 2**20
        most = bench.times(MOST_MIB, QUICK_MIB)  # before it is steady, which takes minutes
        bench.figure("memory", f"+ {more:.1f} MiB", f"≤ + {most:.0f} MiB", more <= most)
        internal = sum(count for name, count in metrics.items() if 'outcome="internal"' in name)
        tracebacks = relay.log.count("Traceback")
        bench.figure(
            "internal errors, tracebacks", f"{internal:g}, {tracebacks}", "0, 0", not internal and not tracebacks
        )


def _kinds(bench: Bench, door: Door) -> list[str]:
    """All of them; in the short run those only that are quick by this door."""
    if not bench.quick:
        return list(door.kinds)
    waits = {name for name, kind in door.kinds.items() if kind.rejects}
    return [name for name in door.kinds if name not in waits | {"closes every 5 s"}]


def _figures(bench: Bench, siege: Siege, doors: Sequence[Door]) -> None:
    for door in doors:
        mine = {name: count for name, count in siege.cycles.items() if name.startswith(f"{door.name}, ")}
        least = min(mine, key=lambda name: mine[name])
        bench.figure(
            f"{door.name}: {len(mine)} kinds of hosts, attempts in all; the least",
            f"{sum(mine.values())}; {mine[least]} ({least.partition(', ')[2]})",
            f"≥ {bench.times(door.cycles, 3)} each",
            mine[least] >= bench.times(door.cycles, 3),
        )
    wrong = "; ".join(siege.wrong[:5]) or 0
    bench.figure("wrong states, and errors that say something else", wrong, "0", not siege.wrong)
