"""Connections for their own sake: slow handshakes and a churn of connects, while honest publishers come and go."""

import asyncio
import json
import re

from tests.attack.honest import Honest, Watch, result
from tests.bench.figures import percentile
from tests.chaos.bench import Bench
from tests.support.tls import make_certificates

MOST_MS = 500.0
LINES_A_SECOND = 50


async def run(bench: Bench) -> None:
    tls = await asyncio.to_thread(make_certificates, bench.folder / "tls")
    async with Honest(bench, RTMP__TLS_CERTIFICATE=tls.certificate, RTMP__TLS_KEY=tls.key) as honest:
        seconds = bench.times(40, 3)
        await _attacked(
            bench, honest, "1,000 slow handshakes from 40 addresses",
            "slow_handshakes", connections=1000, addresses=40, seconds=seconds, every_s=1.0,
        )  # fmt: skip
        await _attacked(
            bench, honest, "1,000 slow handshakes from 1,000 addresses",
            "slow_handshakes", connections=1000, addresses=1000, seconds=seconds, every_s=1.0,
        )  # fmt: skip
        await _attacked(
            bench, honest, "churn of 1,000 connects a second",
            "churn", a_second=1000, addresses=200, seconds=seconds,
        )  # fmt: skip
        await _attacked(
            bench, honest, "silent connections, as many as it takes, from 200 addresses",
            "hold", connections=2000, addresses=200, seconds=seconds,
        )  # fmt: skip
        async with Watch(honest.relay) as watch:
            await _attacked(
                bench, honest, "TLS handshakes from 5,000 addresses",
                "tls_churn", port=honest.relay.rtmps_port, addresses=5000, first=10_000, seconds=seconds,
            )  # fmt: skip
        share = watch.share
        bench.timed("processor meanwhile, honest ones included", f"{share:.0f} % of a core", "≤ 40 %", share <= 40)
        log = honest.relay.log
    most = _most_lines_a_second(log)
    bench.figure(
        f"log lines about strangers in one second ({_left_out(log)} left out and counted)",
        most,
        f"≤ {LINES_A_SECOND}",
        most <= LINES_A_SECOND,
    )


async def _attacked(bench: Bench, honest: Honest, what: str, kind: str, *, seconds: int, **how: object) -> None:
    """``what`` goes on while honest publishers connect, known ones and such as were never seen."""
    attack = honest.begin(kind, seconds=seconds, **how)
    count = max(4, int(seconds * 0.6 / 0.25))
    known = honest.begin_honest("connects", keys=[honest.spare], count=count, every_s=0.25)
    # Numbers of addresses the attack has none of, another each time.
    honest.addresses += count
    new = honest.begin_honest(
        "connects", keys=[honest.other_spare], count=count, every_s=0.25, first_source=20_000 + honest.addresses
    )
    for who, process in (("known", known), ("never seen", new)):
        await process.done(seconds * 4 + 60)
        seen = result(process)
        took, failed = seen["took"], seen["failed"]
        p99_ms = 1000 * percentile(took, 0.99) if took else float("inf")
        name = f"{what}: honest connects, {who}"
        refused = sum(failed.values())
        if who == "known":
            bench.figure(f"{name}: refused, of {count}", refused, "0", not failed)
        else:
            # These may be unlucky while each of the attack's addresses has its first connects, which is most of a
            # short run: an encoder tries again.
            bench.timed(f"{name}: refused, of {count}", refused, "most get in", len(took) > count / 2)
        bench.timed(f"{name}: p99", f"{p99_ms:.0f} ms", f"≤ {MOST_MS:.0f} ms", not took or p99_ms <= MOST_MS)
    await attack.done(seconds * 4 + 60)
    seen = result(attack)
    bench.figure(f"{what}: what the attack had", ", ".join(f"{key} {value}" for key, value in seen.items()), "", True)


def _most_lines_a_second(log: str) -> int:
    """Of lines about strangers, by the second they were written in."""
    counts: dict[str, int] = {}
    for line in log.splitlines():
        said = json.loads(line) if line.startswith("{") else {}
        if "address" in said and "channel" not in said:
            second = said["timestamp"][:19]
            counts[second] = counts.get(second, 0) + 1
    return max(counts.values(), default=0)


def _left_out(log: str) -> int:
    return sum(int(found) for found in re.findall(r'"lines": (\d+)', log))
