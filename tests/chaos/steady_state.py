"""Nothing goes wrong: how long a segment takes from its close to its verified copy in the store."""

import re

from tests.chaos.bench import Bench
from tests.chaos.events import Events
from tests.support.relay import Relay
from tests.support.s3 import serve

MUST_S = 2.0
_BUCKET = re.compile(r'relay_archive_store_delay_seconds_bucket\{le="([^"]+)"\}')


async def run(bench: Bench) -> None:
    async with serve(bench.processes, bench.folder) as server:
        settings = {**server.settings, "ARCHIVE__SEGMENT_S": bench.times(2, 1)}
        relay = Relay(bench.processes, bench.folder / "relay", **settings)
        await relay.start()
        events = Events(relay, bench.times(10, 4))
        await events.publish(bench.times(110, 8), speed=1.0)
        segments = await events.stored()
        bounds = await _bounds(relay)
        wrong = await events.wrong(server)
        await relay.stop()
    total = bounds[-1][1]
    p95_s = next(bound for bound, count in bounds if count >= 0.95 * total)
    within = next(count for bound, count in bounds if bound >= MUST_S) / total
    bench.timed(
        f"segment close → stored, p95 of {total:.0f}",
        f"≤ {p95_s:g} s ({within:.1%} within {MUST_S:g} s)",
        f"≤ {MUST_S:g} s",
        p95_s <= MUST_S,
    )
    bench.figure("segments without a figure", segments - round(total), "0", segments == total)
    bench.figure("missing or wrong objects", len(wrong), "0", not wrong)


async def _bounds(relay: Relay) -> list[tuple[float, float]]:
    """(upper bound in seconds, segments that took no longer) of the relay's own histogram, in order."""
    samples = await relay.metrics()
    return sorted((float(found[1]), count) for name, count in samples.items() if (found := _BUCKET.fullmatch(name)))
