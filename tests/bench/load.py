"""One measurement: a server, phones that publish to it and a drain that takes what it sends on."""

import asyncio
import json
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.figures import cpu_s, histogram_percentile, memory_mib
from tests.bench.phones import Job
from tests.bench.servers import DESTINATIONS, Server
from tests.support import clips
from tests.support.process import Process, Processes, free_port, wait_for_port

SETTLE_S = 5.0
Watch = Callable[[int, float], Awaitable[None]]
"""Looks at the process of this id for so many seconds."""
_GOP = ("-g", "60", "-keyint_min", "60", "-sc_threshold", "0", "-bf", "0")


def _clip(video_kbps: int, audio_kbps: int, width: int, height: int) -> clips.Clip:
    rate = f"{video_kbps}k"
    video = ("libx264", "-preset", "ultrafast", "-b:v", rate, "-maxrate", rate, "-bufsize", rate, *_GOP)
    audio = ("aac", "-b:a", f"{audio_kbps}k", "-ar", "48000", "-ac", "2")
    return clips.Clip(f"measured-{video_kbps}", video, audio, 10, width, height)


LOW = _clip(220, 48, 480, 270)
USUAL = _clip(870, 96, 640, 360)
HIGH = _clip(2870, 96, 1280, 720)
"""With the stamps 300 kbit/s, 1 and 3 Mbit/s."""


@dataclass(frozen=True)
class Load:
    """``channels`` phones that send ``clip``, in bursts ``burst_ms`` apart (0: each packet when it is due)."""

    what: str
    clip: clips.Clip
    channels: int
    burst_ms: int = 0


@dataclass(frozen=True)
class Figures:
    """What one run found. ``cpu`` is percent of one processor; of ``connections``, each lost what it did not get."""

    server: str
    channels: int
    cpu: float
    base_mib: float
    mib: float
    delay_ms: tuple[float, float]
    connections: int
    packets: int
    lost: int
    damaged: int
    late_ms: float
    """How late the phones themselves were, p99: more than some ms means that the machine is too small for them."""
    lag_ms: float | None
    """Of the relay's event loop, p99: the bound of its bucket."""

    @property
    def cpu_each(self) -> float:
        return self.cpu / self.channels


async def measure(
    processes: Processes, folder: Path, server: Server, load: Load, seconds: float, watch: Watch | None = None
) -> Figures:
    """Run ``load`` through ``server``, which is not started yet and is stopped afterwards; ``watch`` it meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    port, drained, sent = free_port(), folder / "drained.json", folder / "sent.json"
    drain = processes.start(sys.executable, "-m", "tests.bench.drain", str(port), str(drained), name="drain")
    await wait_for_port(port, drain)
    await server.start(load.channels, port)
    await asyncio.sleep(2)
    base_mib = memory_mib(server.pid)
    clip = await asyncio.to_thread(clips.make, load.clip)
    ramp_s = max(2.0, load.channels / 25)
    urls = tuple(server.url(channel) for channel in range(load.channels))
    job = Job(server.port, urls, str(clip), str(sent), ramp_s, load.burst_ms).write(folder / "job.json")
    phones = processes.start(sys.executable, "-m", "tests.bench.phones", str(job), name="phones")
    await asyncio.sleep(ramp_s + SETTLE_S)
    before = await server.metrics()
    drain.popen.send_signal(signal.SIGUSR1)
    cpu, started = cpu_s(server.pid), time.monotonic()
    await (asyncio.sleep(seconds) if watch is None else watch(server.pid, seconds))
    cpu, elapsed = cpu_s(server.pid) - cpu, time.monotonic() - started
    drain.popen.send_signal(signal.SIGUSR2)
    mib = memory_mib(server.pid)
    after = await server.metrics()
    report = await finish(phones, sent)
    await asyncio.sleep(1.5)
    drain.popen.send_signal(signal.SIGTERM)
    await drain.done(60)
    phones.kill()
    await server.stop()
    found = json.loads(drained.read_text("utf-8"))
    arrived = found["connections"]
    numbers: list[int] = report["sent"]
    lag = "relay_event_loop_lag_seconds"
    return Figures(
        server=server.name,
        channels=load.channels,
        cpu=100 * cpu / elapsed,
        base_mib=base_mib,
        mib=mib,
        delay_ms=(found["delay_ms"]["0.5"], found["delay_ms"]["0.99"]),
        connections=len(arrived),
        packets=sum(guest["packets"] for guest in arrived),
        lost=sum(_lost(guest, numbers[guest["channel"]]) for guest in arrived),
        damaged=sum(guest["damaged"] for guest in arrived),
        late_ms=report["late_p99_ms"],
        lag_ms=1000 * histogram_percentile(before, after, lag, 0.99) if after else None,
    )  # fmt: skip


def _lost(guest: Mapping[str, int], sent: int) -> int:
    """What a destination did not get of what its channel ``sent``, from the first packet on that it got."""
    return guest["missing"] + guest["disordered"] + sent - 1 - guest["last"]


async def finish(phones: Process, sent: Path, within: float = 60.0) -> dict[str, Any]:
    """Let the phones stop sending; what they report. AssertionError when one was refused or thrown out."""
    phones.popen.send_signal(signal.SIGTERM)
    until = time.monotonic() + within
    while not sent.exists():
        assert phones.running, phones.tail()
        assert time.monotonic() < until, "the phones do not report"
        await asyncio.sleep(0.1)
    report: dict[str, Any] = json.loads(sent.read_text("utf-8"))
    assert not report["refused"], f"publishers were refused: {report['refused'][:5]}"
    assert not report["broken"], f"publishers lost their connections: {report['broken'][:5]}"
    return report


def median(runs: Sequence[Figures], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


def row(runs: Sequence[Figures]) -> str:
    """The medians of one server's runs, in words."""
    first = runs[0]
    wanted = first.channels * DESTINATIONS
    p50 = statistics.median(run.delay_ms[0] for run in runs)
    p99 = statistics.median(run.delay_ms[1] for run in runs)
    base_mib, mib = median(runs, "base_mib"), median(runs, "mib")
    words = [
        f"{median(runs, 'cpu_each'):.3f} % of a core each",
        f"{median(runs, 'cpu'):.1f} % in all",
        f"{base_mib:.0f} MiB + {(mib - base_mib) / first.channels:.2f} each",
        f"delay {p50:.1f} / {p99:.1f} ms",
        f"{sum(run.lost + run.damaged for run in runs)} of {sum(run.packets for run in runs)} packets lost",
    ]  # fmt: skip
    if any(run.connections < wanted for run in runs):
        words.append(f"{min(run.connections for run in runs)} of {wanted} destinations reached")
    lags = [run.lag_ms for run in runs if run.lag_ms is not None]
    if lags:
        words.append(f"loop lag p99 ≤ {statistics.median(lags):.0f} ms")
    if max(run.late_ms for run in runs) > 20:
        words.append(f"phones late by {max(run.late_ms for run in runs):.0f} ms")
    return ", ".join(words)
