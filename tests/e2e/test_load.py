"""Many channels at once, three destinations each: nothing lost; in the long run a bound on the loop's lag too."""

import asyncio

import pytest

from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.counter import CounterProcess
from tests.support.listing import assert_same
from tests.support.load import publish_all
from tests.support.process import Processes

CHANNELS = 30 if clips.FULL else 10
SECONDS = 60 if clips.FULL else 10


@pytest.mark.timeout(600)
async def test_no_packet_is_lost_under_load(start_relay: Start, processes: Processes) -> None:
    """30 channels × 3 destinations × 1 Mbit/s for 60 s with RELAY_TEST_FULL=1, a third of it otherwise."""
    relay = await start_relay()
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    counter = CounterProcess(processes)
    await counter.ready()
    urls = []
    for number in range(CHANNELS):
        channel = await relay.add_channel(f"load-{number}")
        urls.append(relay.publish_url(channel))
        for place in range(3):
            await relay.add_destination(f"load-{number}", f"d{place}", counter.url, f"load-{number}-{place}")
    published = await publish_all(urls, clip, SECONDS)
    lag = await relay.metrics()
    for number in range(CHANNELS):
        await relay.wait_channel(f"load-{number}", "offline")
        shown = await relay.channel(f"load-{number}")
        assert [item["dropped_packets"] for item in shown["destinations"]] == [0, 0, 0], shown["destinations"]
        for place in range(3):
            await relay.wait_destination(f"load-{number}", f"d{place}", "idle")
    report = await counter.finish()
    for number, publisher in enumerate(published):
        for place in range(3):
            arrivals = report[f"load-{number}-{place}"]
            assert len(arrivals) == 1, f"load-{number}-{place} connected {len(arrivals)} times"
            assert_same(publisher.sent, arrivals[0]["listing"], f"load-{number}-{place}", late_ms=6000)
    if clips.FULL:
        assert _p99_ms(lag) <= 20, {name: value for name, value in lag.items() if "event_loop_lag" in name}


def _p99_ms(samples: dict[str, float]) -> float:
    """The upper bound of the histogram bucket that holds the 99th percentile, in ms."""
    prefix = 'relay_event_loop_lag_seconds_bucket{le="'
    buckets = sorted(
        (float(name.removeprefix(prefix).removesuffix('"}')), count)
        for name, count in samples.items()
        if name.startswith(prefix)
    )
    assert buckets, "no relay_event_loop_lag_seconds histogram"
    total = buckets[-1][1]
    assert total > 0, "the loop's lag was never measured"
    return next(bound for bound, count in buckets if count >= 0.99 * total) * 1000
