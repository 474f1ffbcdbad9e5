"""What live playback costs: a channel nobody watches, and each answer to a crowd that waits for every part."""

import asyncio
from pathlib import Path

from tests.bench.figures import cpu_s
from tests.bench.hold import share
from tests.support import clips
from tests.support.load import repeat
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.relay import Relay
from tests.support.viewer import Crowd

VIEWERS, SECONDS, QUICK_SECONDS = 500, 20.0, 10.0


async def run(processes: Processes, folder: Path, *, quick: bool = False) -> list[tuple[str, str, str]]:
    """One publisher of 1 Mbit/s; then VIEWERS at once, each asking for every playlist and part to come."""
    relay = Relay(processes, folder / "relay")
    await relay.start()
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    channel = await relay.channel("demo")
    publisher = Publisher(relay.publish_url(channel))
    await publisher.open()
    sending = asyncio.create_task(repeat(publisher, clip, 3600))
    await asyncio.sleep(5)
    seconds = QUICK_SECONDS if quick else SECONDS
    alone = await share(relay.pid, seconds)
    before = cpu_s(relay.pid)
    url = f"http://127.0.0.1:{relay.http_port}/live/demo"
    report = await Crowd(processes, url, f"key={channel['read_key']}", VIEWERS, seconds, "crowd").report(seconds + 60)
    each = (cpu_s(relay.pid) - before) / report["asked"]
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await publisher.abort()
    await relay.stop()
    late = report["late"]
    return [
        ("one channel of 1 Mbit/s, recorded, unwatched", f"{alone:.2f} % of a core", ""),
        (f"{VIEWERS} viewers: errors", f"{len(report['errors'])} of {report['asked']}", "0"),
        ("each answer", f"{each * 1e6:.0f} µs", ""),
        ("answers after the first of their kind, p50", f"{late[len(late) // 2] * 1000:.0f} ms", ""),
        ("the same, p99", f"{late[int(len(late) * 0.99)] * 1000:.0f} ms", "≤ 100 ms"),
    ]
