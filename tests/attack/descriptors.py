"""A relay that may open 256 files, and 2,000 connections that want to be made."""

import asyncio
import time

from tests.attack.honest import Honest, Watch, result
from tests.chaos.bench import Bench
from tests.support.process import Process
from tests.support.relay import ApiError, Relay

DESCRIPTORS = 256
MOST_S = 2.0


class Health:
    """What the relay says of itself, asked again and again while something goes on."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.alive = self.dead = 0
        self.ready: set[str] = set()
        self.slowest_s = 0.0

    async def until(self, process: Process, within: float) -> None:
        until = time.monotonic() + within
        while process.running:
            assert time.monotonic() < until, process.tail()
            await self.ask()
            await asyncio.sleep(0.2)

    async def ask(self) -> None:
        began = time.monotonic()
        try:
            await self._relay.fetch("/healthz")
            self.alive += 1
        except (OSError, ApiError):
            self.dead += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        try:
            await self._relay.fetch("/readyz")
            self.ready.add("ready")
        except ApiError as error:
            self.ready.add(error.body)
        except OSError as error:
            self.ready.add(str(error))


async def run(bench: Bench) -> None:
    limited = ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh")
    async with Honest(bench, runner=limited, ARCHIVE__STORE="file:archive") as honest:
        relay = honest.relay
        await honest.publishes()
        seconds = bench.times(30, 3)
        async with Watch(relay) as watch:
            attack = honest.begin("hold", connections=2000, addresses=200, seconds=seconds)
            health = Health(relay)
            asking = asyncio.create_task(health.until(attack, seconds * 4 + 60))
            await asyncio.sleep(seconds / 2)
            known_s = await honest.publishes()
            await asking
        seen = result(attack)
        after_s = await honest.publishes()
        bench.figure(
            f"descriptors in use of {DESCRIPTORS}, with 2,000 connects (at most {seen['most']} open,"
            f" {seen['dialled']} dialled)",
            watch.most_fds,
            f"< {DESCRIPTORS}",
            watch.most_fds < DESCRIPTORS,
        )
        bench.figure("a known publisher is live, during", f"{known_s:.1f} s", "gets in", True)
        show_after(bench, after_s)
        show_health(bench, health)
        metrics = await relay.metrics()
        hits = metrics.get('relay_limit_hits_total{limit="descriptors"}', 0)
        bench.figure("relay_limit_hits_total, descriptors", f"{hits:.0f}", "> 0", hits > 0)


def show_after(bench: Bench, after_s: float) -> None:
    bench.timed("a publisher is live, after", f"{after_s:.1f} s", f"≤ {MOST_S:.0f} s", after_s <= MOST_S)


def show_health(bench: Bench, health: Health) -> None:
    """It did its work all the time (the honest streams say so), and must have said that."""
    bench.figure(
        f"/healthz answered, of {health.alive + health.dead} (the slowest after {health.slowest_s:.1f} s)",
        health.alive,
        "all",
        not health.dead,
    )
    said = "; ".join(sorted(health.ready))
    bench.figure("/readyz said", said, "ready", health.ready == {"ready"})
