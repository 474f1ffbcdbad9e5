"""A relay that may have 256 MiB, and strangers who want it to take more."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.attack.descriptors import Health, show_after, show_health
from tests.attack.honest import PHONES, Honest, Watch, spare_key
from tests.chaos.bench import Bench

LIMIT_MIB = 256
_GROUPS = Path("/sys/fs/cgroup/memory")


@contextlib.contextmanager
def limited() -> Iterator[tuple[tuple[str, ...], str]]:
    """(the words before a command that may have LIMIT_MIB, what holds it to that).

    A memory group beneath this process's own where one can be made; else RLIMIT_DATA, with small stacks, for every
    thread's counts in full.
    """
    group = _own_group() / f"fieldrelay-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT_MIB << 20), "ascii")
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        kib = LIMIT_MIB << 10
        yield ("sh", "-c", f'ulimit -s 512; ulimit -d {kib}; exec "$@"', "sh"), "RLIMIT_DATA"
        return
    try:
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"), "memory cgroup"
    finally:
        group.rmdir()


def _own_group() -> Path:
    """Of cgroup version 1; a folder that is not there, elsewhere."""
    for line in Path("/proc/self/cgroup").read_text("ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _GROUPS / path.lstrip("/")
    return Path("/nonexistent")


async def run(bench: Bench) -> None:
    with limited() as (runner, how):
        await _run(bench, runner, how)


async def _run(bench: Bench, runner: tuple[str, ...], how: str) -> None:
    async with Honest(bench, runner=runner, ARCHIVE__STORE="file:archive") as honest:
        relay = honest.relay
        await honest.publishes()
        seconds = bench.times(30, 3)
        async with Watch(relay) as watch:
            attacks = [
                honest.begin(
                    "half_sent", connections=200, streams=63, announced=1 << 22, most=50_000, hold_s=seconds / 2
                ),
                honest.begin("half_sent", connections=200, streams=63, announced=1 << 22, most=1 << 22, hold_s=0),
                honest.begin("hold", connections=2000, addresses=200, seconds=seconds),
                honest.begin("flood", seconds=seconds, kind="pings", key=spare_key(PHONES), connections=1),
                honest.begin("flood", seconds=seconds, kind="partial", key=spare_key(PHONES + 1), connections=8),
            ]
            health = Health(relay)
            await asyncio.gather(*(health.until(attack, seconds * 6 + 60) for attack in attacks))
        after_s = await honest.publishes()
        most_mib = watch.most / 2**20
        bench.figure(
            f"memory of {LIMIT_MIB} MiB ({how}), with half-sent messages, silent connections, unread answers",
            f"{most_mib:.0f} MiB (+ {watch.more_mib:.0f})",
            f"< {LIMIT_MIB} MiB, alive",
            most_mib < LIMIT_MIB and relay.process is not None and relay.process.running,
        )
        show_after(bench, after_s)
        show_health(bench, health)
