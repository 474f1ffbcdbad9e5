"""What it costs to hold channels whose publishers are away, against relaying them live."""

import asyncio
import time
from pathlib import Path

from tests.bench.figures import cpu_s
from tests.support import clips
from tests.support.counter import CounterProcess
from tests.support.load import repeat
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.relay import Relay

CHANNELS, DESTINATIONS, SECONDS = 20, 3, 20.0
QUICK_SECONDS = 5.0


async def share(pid: int, seconds: float) -> float:
    """Percent of one processor over so many seconds."""
    before, started = cpu_s(pid), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (cpu_s(pid) - before) / (time.monotonic() - started)


async def run(processes: Processes, folder: Path, *, quick: bool = False) -> list[tuple[str, str, str]]:
    """CHANNELS publishers of 1 Mbit/s, each to DESTINATIONS; then all of them vanish at once."""
    relay = Relay(processes, folder / "relay", ARCHIVE__STORE="off", LIMITS__CONNECTIONS_PER_ADDRESS=500)
    await relay.start()
    counter = CounterProcess(processes)
    await counter.ready()
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    publishers = []
    for number in range(CHANNELS):
        channel = await relay.add_channel(f"c{number}")
        for place in range(DESTINATIONS):
            await relay.add_destination(f"c{number}", f"d{place}", counter.url, f"key-{number}-{place}")
        publishers.append(Publisher(relay.publish_url(channel)))
        await publishers[-1].open()
    sending = [asyncio.create_task(repeat(publisher, clip, 3600)) for publisher in publishers]
    await relay.wait_channel(f"c{CHANNELS - 1}", "live")
    await asyncio.sleep(5)
    seconds = QUICK_SECONDS if quick else SECONDS
    live = await share(relay.pid, seconds)
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    for publisher in publishers:
        await publisher.abort()
    await relay.wait_channel(f"c{CHANNELS - 1}", "holding")
    await asyncio.sleep(5)
    held = await share(relay.pid, seconds)
    states = [
        item["state"] for number in range(CHANNELS) for item in (await relay.channel(f"c{number}"))["destinations"]
    ]
    assert states == ["live"] * CHANNELS * DESTINATIONS, states
    await relay.stop()
    streams = f"{CHANNELS} channels of 1 Mbit/s, {DESTINATIONS} destinations each"
    return [
        (f"relaying {streams}", f"{live:.1f} % of a core", ""),
        ("holding them", f"{held:.1f} % of a core", ""),
        ("ratio", f"{held / live:.2f}", "≤ 1.5"),
    ]
