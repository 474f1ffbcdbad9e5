"""FittedStream: goes on through dead and hanging children, in one shape, on one timeline, and leaves no zombie."""

import asyncio
import os
import signal
import time
from itertools import pairwise

import pytest

from relay.egress.base import FitConfig
from relay.egress.fit import FittedStream
from relay.hub import BacklogLimit, Stream
from tests.egress.fitting import Watcher, is_alive, on_air
from tests.egress.media import eventually, packets_of
from tests.support import clips

ROUNDS = 34 if clips.FULL else 1


@pytest.mark.timeout(1800)
async def test_children_come_and_go_and_the_stream_stays() -> None:
    packets = packets_of(clips.make(clips.LOAD))
    stream = Stream("talk")
    fitted = FittedStream(stream, FitConfig(height=180, video_kbps=200), BacklogLimit())
    watcher = Watcher()
    fitted.out.subscribe(watcher)
    pids = set()
    async with on_air(stream, packets):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP) * ROUNDS:
            await eventually(lambda: fitted.pid not in {0, *pids}, 60)
            seen = len(watcher.pictures)
            await eventually(lambda seen=seen: len(watcher.pictures) > seen + 5, 60)
            pids.add(fitted.pid)
            os.kill(fitted.pid, number)
            started = time.monotonic()
            await eventually(lambda: fitted.pid not in {0, *pids}, 60)
            seen = len(watcher.pictures)
            await eventually(lambda seen=seen: len(watcher.pictures) > seen, 60)
            assert time.monotonic() - started < 30
        assert fitted.failures == 3 * ROUNDS
        assert fitted.cpu_s > 0
        headers = {packet.track.header for packet in watcher.pictures}
        assert len(headers) == 1, "one shape from end to end"
        pid = fitted.pid
        fitted.close()
        await asyncio.gather(fitted.task, return_exceptions=True)
    assert watcher.is_over
    assert not any(is_alive(pid) for pid in {*pids, pid})
    assert fitted.pid == 0


async def test_a_phone_that_turns_comes_out_in_the_first_shape() -> None:
    packets = packets_of(clips.make_resized())
    stream = Stream("talk")
    fitted = FittedStream(stream, FitConfig(video_kbps=300), BacklogLimit())
    watcher = Watcher()
    fitted.out.subscribe(watcher)
    half = packets[-1].dts_ms // 2
    async with on_air(stream, packets, speed=1.5):
        await eventually(lambda: watcher.pictures and watcher.pictures[-1].dts_ms > half + 2000, 60)
    fitted.close()
    await asyncio.gather(fitted.task, return_exceptions=True)
    assert {(packet.track.width, packet.track.height) for packet in watcher.pictures} == {(640, 360)}
    assert fitted.failures == 0
    times = [packet.dts_ms for packet in watcher.pictures]
    assert max(later - earlier for earlier, later in pairwise(times)) < 5000
