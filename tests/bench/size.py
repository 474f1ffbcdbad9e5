"""What a machine must have: processor time and memory for relaying, recording and transcoding, for deploy/README.md."""

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

SECONDS, QUICK_SECONDS = 20.0, 5.0
HD = clips.Clip(
    "hd", (*clips.H264.video[:2], "ultrafast", "-b:v", "3000k", "-maxrate", "3000k", "-bufsize", "3000k", "-g", "60"),
    clips.H264.audio, 10, 1280, 720,
)  # fmt: skip
CASES: tuple[tuple[str, clips.Clip, int, int, dict[str, int], dict[str, object]], ...] = (
    ("20 channels of 1 Mbit/s, 3 destinations each, not recorded", clips.LOAD, 20, 3, {}, {"ARCHIVE__STORE": "off"}),
    ("the same, recorded", clips.LOAD, 20, 3, {}, {}),
    ("5 channels of 3 Mbit/s, 3 destinations each, recorded", HD, 5, 3, {}, {}),
    ("1 channel of 3 Mbit/s, transcoded to 720p of 2500 kbit/s", HD, 1, 1, {"height": 720, "video_kbps": 2500}, {}),
    ("1 channel of 3 Mbit/s, transcoded to 480p of 1200 kbit/s", HD, 1, 1, {"height": 480, "video_kbps": 1200}, {}),
)
"""(what, clip, channels, destinations of each, fit, settings)."""


async def run(processes: Processes, folder: Path, *, quick: bool = False) -> list[tuple[str, str, str]]:
    """Each case on a relay of its own."""
    counter = CounterProcess(processes)
    await counter.ready()
    rows = []
    seconds = QUICK_SECONDS if quick else SECONDS
    for number, (what, clip, channels, destinations, fit, settings) in enumerate(CASES):
        relay = Relay(
            processes, folder / f"relay{number}", f"relay{number}", LIMITS__CONNECTIONS_PER_ADDRESS=500, **settings
        )
        await relay.start()
        flv = await asyncio.to_thread(clips.make, clip)
        found = await _cost(relay, flv, channels, destinations, {"fit": fit} if fit else {}, counter.url, seconds)
        rows.append((what, found, ""))
        await relay.stop(20)
    return rows


async def _cost(
    relay: Relay, clip: Path, channels: int, destinations: int, options: dict[str, object], url: str, seconds: float
) -> str:
    publishers = []
    for number in range(channels):
        channel = await relay.add_channel(f"c{number}")
        for place in range(destinations):
            await relay.add_destination(f"c{number}", f"d{place}", url, f"key-{number}-{place}", **options)
        publishers.append(Publisher(relay.publish_url(channel)))
        await publishers[-1].open()
    sending = [asyncio.create_task(repeat(publisher, clip, 3600)) for publisher in publishers]
    await relay.wait_channel(f"c{channels - 1}", "live")
    await asyncio.sleep(8)
    before, fitted, started = cpu_s(relay.pid), await _transcoding_s(relay), time.monotonic()
    await asyncio.sleep(seconds)
    elapsed = time.monotonic() - started
    share = 100 * (cpu_s(relay.pid) - before) / elapsed
    children = 100 * (await _transcoding_s(relay) - fitted) / elapsed
    memory = relay.memory() / 1e6
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    for publisher in publishers:
        await publisher.abort()
    transcoding = f", transcoder {children:.0f} %" if options else ""
    return f"{share:.1f} % of a core{transcoding}, {memory:.0f} MB"


async def _transcoding_s(relay: Relay) -> float:
    found = await relay.metrics()
    return sum(value for name, value in found.items() if name.startswith("relay_fit_cpu_seconds_total"))
