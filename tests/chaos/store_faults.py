"""A store that refuses for minutes, is killed, and fails at random: everything arrives, nothing is hurried."""

import asyncio
import sys
import time

from tests.chaos.bench import Bench
from tests.chaos.events import Events
from tests.support.relay import ApiError, Relay
from tests.support.s3 import S3Server, serve
from tests.support.s3_faults import FaultyLink, faulty_link

WORKERS = 4
SETTLED_S = 2.0  # until the first refusals have come back


async def run(bench: Bench) -> None:
    async with serve(bench.processes, bench.folder) as server, faulty_link(server.endpoint) as link:
        settings = {**server.settings, "ARCHIVE__S3_ENDPOINT": link.endpoint, "ARCHIVE__UPLOADS": WORKERS}
        relay = Relay(bench.processes, bench.folder / "relay", **settings, ARCHIVE__SEGMENT_S=1)
        await relay.start()
        events = Events(relay, bench.times(20, 3))
        await _refused(bench, events, link, server)
        await _killed(bench, events, server)
        await _at_random(bench, events, link)
        wrong = await events.wrong(server)
        bench.figure("missing or wrong objects at the end", len(wrong), "0", not wrong)
        assert not wrong, "\n".join(wrong)
        await relay.stop()


async def _refused(bench: Bench, events: Events, link: FaultyLink, server: S3Server) -> None:
    """503 to everything while a backlog comes together; then all of it at once."""
    outage_s = bench.times(600, 6)
    await events.publish(bench.times(1, 1))  # the store is in use when it goes down
    await events.stored()
    link.down = True
    down_at = time.monotonic()
    await events.publish(bench.times(100, 10))
    segments = await events.packaged(300)
    try:
        await events.relay.fetch("/readyz")
        said = "nothing"
    except ApiError as error:
        said = error.body
    bench.figure("what /readyz says meanwhile", _short(said), "SlowDown", "SlowDown" in said)
    await asyncio.sleep(max(0.0, outage_s - (time.monotonic() - down_at)))
    up_at = time.monotonic()
    busiest = link.busiest(down_at + SETTLED_S, up_at, 5.0) / 5
    bench.figure(f"requests a second over any 5 s of {up_at - down_at:.0f} s of 503", busiest, "≤ 2", busiest <= 2)
    first = link.busiest(down_at, up_at, 1.0)
    bench.figure("requests in the first second of it", first, f"≤ {WORKERS * 2}", first <= WORKERS * 2)
    before = len(link.stored)
    link.down = False
    await events.stored(300)
    times = link.stored[before:]
    rate = (len(times) - 1) / (times[-1] - times[0])
    size = await _segment_bytes(events)
    takes = await _takes(bench, link, server, bench.times(600, 40), size)
    share = rate / takes
    bench.timed("recovery noticed after", f"{times[0] - up_at:.1f} s", "≤ 12 s", times[0] - up_at <= 12)
    bench.timed(
        f"backlog of {segments} segments drained at",
        f"{rate:.0f}/s, a bare client {takes:.0f}/s: {share:.0%}",
        "≥ 80 %",
        share >= 0.8,
    )


async def _killed(bench: Bench, events: Events, server: S3Server) -> None:
    """The store is killed while uploads run, and comes back on its data."""
    publishing = asyncio.create_task(events.publish(bench.times(25, 8)))
    await asyncio.sleep(bench.times(2, 1))
    server.kill()
    await publishing
    await asyncio.sleep(bench.times(20, 1))
    await server.start()
    stored, packaged = await events.stored(120), await events.packaged()
    bench.figure("stored after the store was killed and came back", stored, f"{packaged}", stored == packaged)


async def _at_random(bench: Bench, events: Events, link: FaultyLink) -> None:
    """One request in five meets a fault."""
    link.met.clear()
    link.share = 0.2
    started = time.monotonic()
    before = len(link.stored)
    await events.publish(bench.times(100, 10))
    await events.stored(600)
    took_s = time.monotonic() - started
    link.share = 0.0
    faults = sum(count for name, count in link.met.items() if name != "none")
    bench.figure(
        "stored with a fault in every fifth request",
        f"{len(link.stored) - before} segments, {faults} faults in {sum(link.met.values())} requests, {took_s:.0f} s",
        "all, and faults of every kind",
        len(link.met) >= (6 if not bench.quick else 4),
    )


async def _segment_bytes(events: Events) -> int:
    """Mean size of the stored segments."""
    rows = [row for _, row in await events.rows()]
    return round(sum(row["bytes"] for row in rows) / sum(row["segments"] for row in rows))


async def _takes(bench: Bench, link: FaultyLink, server: S3Server, objects: int, size: int) -> float:
    """Objects a second that a bare client gets into the store over the same link."""
    words = (sys.executable, "-m", "tests.support.s3_rate", link.endpoint, server.bucket, objects, size, WORKERS)
    process = bench.processes.start(*(str(word) for word in words), name="rate")
    await process.done(300)
    return float(process.output.read_text("utf-8"))


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "…"
