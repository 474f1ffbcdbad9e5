"""Honest publishers beside an attack: eight phones through a real relay to a drain, which must not notice it."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.bench.figures import cpu_s
from tests.bench.load import LOW, finish
from tests.bench.phones import Job
from tests.chaos.bench import Bench
from tests.support import clips
from tests.support.process import Process, free_port, wait_for_port
from tests.support.publisher import Publisher
from tests.support.relay import Relay

PHONES = 8
WATCH_S = 0.05
MORE_MS = 20.0


def spare_key(number: int) -> str:
    """The stream key of a phone, or of the channels there are besides."""
    return f"honestchannelnumber{number:06}"


class Watch:
    """What the relay's process takes while it is watched: the most memory, and its processor time."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._task: asyncio.Task[None] | None = None
        self.before = relay.memory()
        self.most = self.before
        self.most_fds = 0
        self.took_s = self.cpu_s = 0.0

    @property
    def more_mib(self) -> float:
        return (self.most - self.before) / 2**20

    @property
    def share(self) -> float:
        """Of one core, in percent."""
        return 100 * self.cpu_s / self.took_s

    async def __aenter__(self) -> Self:
        self.cpu_s, self.took_s = -cpu_s(self._relay.pid), -time.monotonic()
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cpu_s += cpu_s(self._relay.pid)
        self.took_s += time.monotonic()
        assert self._task is not None
        self._task.cancel()

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, self._relay.memory())
            self.most_fds = max(self.most_fds, len(os.listdir(f"/proc/{self._relay.pid}/fd")))
            await asyncio.sleep(WATCH_S)


class Honest:
    """A relay with eight channels that publish to it, and two (``spare``) that do not yet; as a context manager."""

    def __init__(self, bench: Bench, *, runner: Sequence[str | Path] = (), **settings: object) -> None:
        self.bench = bench
        self.relay = Relay(bench.processes, bench.folder / "relay", **{"ARCHIVE__STORE": "off", **settings})
        self.relay.command = (*runner, *self.relay.command)
        self.clip = bench.folder
        self.spare, self.other_spare = spare_key(PHONES), spare_key(PHONES + 1)
        self.addresses = 0  # used so far by honest ones that nobody had seen before
        self._drain_port = free_port()
        self._drained = bench.folder / "drained.json"
        self._sent = bench.folder / "sent.json"
        self._drain: Process | None = None
        self._phones: Process | None = None

    async def __aenter__(self) -> Self:
        start = self.bench.processes.start
        self._drain = start(
            sys.executable, "-m", "tests.attack.drain", str(self._drain_port), str(self._drained), name="drain"
        )
        await wait_for_port(self._drain_port, self._drain)
        await self.relay.start()
        document = [
            {
                "name": f"c{number}",
                "stream_key": spare_key(number),
                "destinations": [
                    {"name": "d", "url": f"rtmp://127.0.0.1:{self._drain_port}/drain", "key": f"k{number}"}
                ]
                if number < PHONES
                else [],
            }
            for number in range(PHONES + 2)
        ]
        self.relay.keys |= {spare_key(number) for number in range(PHONES + 2)}
        await self.relay.api("POST", "/apply", {"channels": document})
        self.clip = await asyncio.to_thread(clips.make, LOW)
        urls = tuple(("live", spare_key(number)) for number in range(PHONES))
        job = Job(self.relay.rtmp_port, urls, str(self.clip), str(self._sent), 1.0).write(
            self.bench.folder / "job.json"
        )
        self._phones = start(sys.executable, "-m", "tests.bench.phones", str(job), name="phones")
        await asyncio.sleep(2.0)
        for number in range(PHONES):
            await self.relay.wait_channel(f"c{number}", "live")
            await self.relay.wait_destination(f"c{number}", "d", "live")
        self._period()
        await asyncio.sleep(self.bench.times(15, 3))
        self._period()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self._show()

    def _period(self) -> None:
        assert self._drain is not None
        self._drain.popen.send_signal(signal.SIGUSR1)

    def spare_url(self, number: int = 0) -> str:
        """Where to publish to a channel that nobody publishes to."""
        return f"rtmp://127.0.0.1:{self.relay.rtmp_port}/live/{spare_key(PHONES + number)}"

    async def strangers(self, what: str, within: float = 120.0, **how: object) -> dict[str, Any]:
        """Have ``strangers.WHAT(port, **how)`` done by a process of its own; what it returns.

        It yields to everybody else on this machine, as it would have a machine of its own elsewhere.
        """
        process = self.begin(what, **how)
        await process.done(within)
        return result(process)

    def begin(self, what: str, **how: object) -> Process:
        """As ``strangers``, without waiting for it; see ``result``."""
        return self._start(("nice", "-n", "19"), what, how)

    def begin_honest(self, what: str, **how: object) -> Process:
        """As ``begin``, for what honest ones do."""
        return self._start((), what, how)

    def _start(self, before: tuple[str, ...], what: str, how: dict[str, object]) -> Process:
        return self.bench.processes.start(
            *before, sys.executable, "-m", "tests.attack.strangers", what,
            json.dumps({"port": self.relay.rtmp_port, **how}), name=what,
        )  # fmt: skip

    async def publishes(self, number: int = 0, within: float = 15.0) -> float:
        """Publish a second of media to a spare channel; seconds from dialling until the channel is live."""
        started = time.monotonic()
        async with Publisher(self.spare_url(number)) as publisher:
            await publisher.send(self.clip, speed=None, until_ms=1000)
            await self.relay.wait_channel(f"c{PHONES + number}", "live", within)
            took_s = time.monotonic() - started
        await self.relay.wait_channel(f"c{PHONES + number}", "offline")
        return took_s

    async def _show(self) -> None:
        """End everything, and note what the honest ones got of it."""
        bench = self.bench
        assert self._phones is not None
        assert self._drain is not None
        self._period()
        report = await finish(self._phones, self._sent)
        await asyncio.sleep(1.5)
        self._drain.popen.send_signal(signal.SIGTERM)
        await self._drain.done(60)
        self._phones.kill()
        await self.relay.stop(30)
        found = json.loads(self._drained.read_text("utf-8"))
        arrived = found["connections"]
        sent: list[int] = report["sent"]
        lost = sum(
            guest["missing"] + guest["disordered"] + guest["damaged"] + sent[guest["channel"]] - 1 - guest["last"]
            for guest in arrived
        )
        bench.figure(
            f"honest: packets lost, of {sum(guest['packets'] for guest in arrived)}; connections of {PHONES}",
            f"{lost}; {len(arrived)}",
            f"0; {PHONES}",
            lost == 0 and len(arrived) == PHONES,
        )
        _, before, during, _ = found["periods"]
        bench.timed(
            "honest: delay p50 / p99, before and during",
            f"{before['p50']:.0f} / {before['p99']:.0f}, {during['p50']:.0f} / {during['p99']:.0f} ms"
            + (f", phones late by {report['late_p99_ms']:.0f} ms" if report["late_p99_ms"] > 20 else ""),
            f"≤ + {MORE_MS:.0f} ms",
            during["p99"] <= before["p99"] + MORE_MS,
        )


def result(process: Process) -> dict[str, Any]:
    """What strangers that are done have to say."""
    found: dict[str, Any] = json.loads(process.output.read_text("utf-8"))
    return found
