"""A thousand publishers that connect within ten seconds, as after an outage of a whole site."""

import asyncio
import sys
from pathlib import Path

from tests.bench.figures import cpu_s, percentile
from tests.bench.load import USUAL, finish
from tests.bench.phones import Job
from tests.bench.servers import FieldRelay
from tests.support import clips
from tests.support.process import Processes, free_port

PUBLISHERS, RAMP_S = 1000, 10.0


async def run(processes: Processes, folder: Path, *, quick: bool = False) -> list[tuple[str, str, str]]:
    """Each sends its keyframes and stays; ``quick`` makes no difference, it takes 20 s."""
    server = FieldRelay(processes, folder / "relay", ARCHIVE__STORE="off", LIMITS__METRIC_SERIES=100_000)
    await server.start(PUBLISHERS, free_port(), destinations=0)
    clip = await asyncio.to_thread(clips.make, USUAL)
    sent = folder / "sent.json"
    urls = tuple(server.url(channel) for channel in range(PUBLISHERS))
    job = Job(server.port, urls, str(clip), str(sent), RAMP_S, keyframes_only=True).write(folder / "job.json")
    before = cpu_s(server.pid)
    phones = processes.start(sys.executable, "-m", "tests.bench.phones", str(job), name="phones")
    await asyncio.sleep(RAMP_S + 5)
    cpu = cpu_s(server.pid) - before
    live = sum(value for name, value in (await server.metrics()).items() if name.startswith("relay_channel_live{"))
    report = await finish(phones, sent)
    phones.kill()
    await server.stop()
    accepted: list[float] = report["accepted_s"]
    what = f"{PUBLISHERS} publishers connecting within {RAMP_S:.0f} s"
    return [
        (f"{what}: accepted, and live", f"{len(accepted)}, {live:.0f}", f"{PUBLISHERS}"),
        (f"{what}: from dialling to accepted, p50", f"{percentile(accepted, 0.5) * 1000:.1f} ms", ""),
        (f"{what}: the same, p99", f"{percentile(accepted, 0.99) * 1000:.1f} ms", "≤ 1000 ms"),
        (f"{what}: processor time each", f"{cpu / PUBLISHERS * 1000:.2f} ms", ""),
    ]
