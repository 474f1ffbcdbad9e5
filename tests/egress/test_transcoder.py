"""Transcoder: one real ffmpeg for one piece of stream; it ends with the piece, and hangs or fails for no one else."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

from relay import confine
from relay.egress import transcoder
from relay.egress.base import FitConfig
from relay.egress.ffmpeg import Shape, shape_of
from relay.egress.transcoder import MEMORY_BYTES, OPEN_FILES, Transcoder
from relay.errors import DestinationError
from relay.hub import BacklogLimit, Stream
from relay.hub.batch import Tracks
from relay.media import Packet
from tests.egress.fitting import Watcher, is_alive, on_air
from tests.egress.media import packets_of
from tests.support import clips, proc

FIT = FitConfig(height=180, fps=15, video_kbps=300, keyframe_s=1)


@pytest.fixture(scope="module")
def packets() -> list[Packet]:
    return packets_of(clips.make(clips.LOAD))


def shaped(tracks: Tracks) -> Shape:
    return shape_of(FIT, tracks)


class Run:
    """A transcoder at work, what it wrote, and how often it was silent."""

    def __init__(self, stream: Stream) -> None:
        self.out = Stream("out")
        self.watcher = Watcher()
        self.out.subscribe(self.watcher)
        self.silences = 0
        self.transcoder = Transcoder(stream, BacklogLimit(), shape=shaped, write=self.write, on_silence=self.silent)
        self.task = asyncio.create_task(self.transcoder.run(lambda: None))

    def write(self, packets: list[Packet]) -> None:
        self.out.write(packets)

    def silent(self) -> None:
        self.silences += 1

    async def until(self, condition: Callable[[], object], within: float = 30.0) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            if self.task.done():
                await self.task
            await asyncio.sleep(0.05)


async def test_what_comes_out_fits_and_keeps_its_time(packets: list[Packet]) -> None:
    stream = Stream("talk")
    stream.last_dts_ms = 5_000_000
    async with on_air(stream, packets):
        run = Run(stream)
        await run.until(lambda: len(run.watcher.pictures) > 60)
        assert run.transcoder.cpu_s > 0
        pid = run.transcoder.pid
        run.transcoder.ended(None)
        await run.task
    assert not is_alive(pid)
    video, audio = run.out.tracks
    assert video is not None
    assert audio is not None
    assert (video.width, video.height, audio.sample_rate, audio.channels) == (320, 180, 48000, 2)
    pictures = run.watcher.pictures
    assert pictures[0].is_keyframe
    assert 5_000_000 <= pictures[0].dts_ms <= 5_000_200, "on the stream's own timeline"
    steps = sorted(later.dts_ms - earlier.dts_ms for earlier, later in pairwise(pictures))
    assert 66 <= steps[len(steps) // 2] <= 67
    keyframes = [packet.dts_ms for packet in pictures if packet.is_keyframe]
    assert all(900 <= later - earlier <= 1100 for earlier, later in pairwise(keyframes))
    sounds = [packet.dts_ms for packet in run.watcher.packets if not packet.is_video]
    assert abs(sounds[0] - pictures[0].dts_ms) < 120
    assert run.silences == 0


async def test_the_child_has_its_pipes_and_nothing_else(packets: list[Packet], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen failing: it had the relay's whole environment, no limits and the network."""
    monkeypatch.setenv("RELAY_ARCHIVE__S3_SECRET", "canary-of-the-relay")
    stream = Stream("talk")
    with open("/dev/null") as extra:
        os.set_inheritable(extra.fileno(), True)
        async with on_air(stream, packets):
            run = Run(stream)
            await run.until(lambda: run.watcher.pictures and run.transcoder.cpu_s > 0)
            pid = run.transcoder.pid
            assert b"ffmpeg" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
            assert proc.environment(pid) == b""
            assert os.getpgid(pid) == pid
            assert os.getsid(pid) == pid
            files = proc.files(pid)
            assert all(name.startswith(("pipe:", "socket:")) for name in files.values()), files
            assert len(set(files.values())) == 3, files  # ffmpeg has a copy of two of them
            limits = proc.limits(pid)
            assert limits.pop("cpu_s") >= confine.CPU_S
            assert limits == {"memory_bytes": MEMORY_BYTES, "file_bytes": 0, "core_bytes": 0, "open_files": OPEN_FILES}
            assert proc.network(pid) != proc.network("self")
            run.transcoder.ended(None)
            await run.task


async def test_a_child_with_the_hosts_network_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcoder, "_has_told", False)
    with structlog.testing.capture_logs() as logs:
        for words in (
            b"confine: no network namespace: Operation not permitted\nframe",
            b"other",
            b"confine: no network",
        ):
            transcoder._tell_of_network(words)
        transcoder._tell_of_network(b"confine: no network namespace: Operation not permitted\n")
    assert [item["log_level"] for item in logs] == ["warning"]
    assert logs[0]["reason"] == "Operation not permitted"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_child_that_dies_is_an_error_that_says_so(packets: list[Packet], number: int) -> None:
    stream = Stream("talk")
    async with on_air(stream, packets):
        run = Run(stream)
        await run.until(lambda: run.watcher.pictures)
        pid = run.transcoder.pid
        os.kill(pid, number)
        with pytest.raises(DestinationError, match="ffmpeg ended by itself") as raised:
            await asyncio.wait_for(run.task, 10)
    assert raised.value.outcome == "transcoder"
    assert not is_alive(pid)


async def test_a_child_that_hangs_is_noticed_and_ended(packets: list[Packet]) -> None:
    stream = Stream("talk")
    async with on_air(stream, packets):
        run = Run(stream)
        await run.until(lambda: run.watcher.pictures)
        pid = run.transcoder.pid
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(DestinationError, match="gave none back"):
            await asyncio.wait_for(run.task, 20)
        assert time.monotonic() - started < 14
    assert run.silences > 0
    assert not is_alive(pid)


async def test_a_hole_or_another_picture_ends_the_piece(packets: list[Packet]) -> None:
    for change in ("hole", "size"):
        stream = Stream("talk")
        async with on_air(stream, packets):
            run = Run(stream)
            await run.until(lambda: run.watcher.pictures)  # noqa: B023 - waited for at once
        first = next(packet for packet in packets if packet.is_video)
        track = first.track if change == "hole" else clips_track()
        at_ms = (stream.last_dts_ms or 0) + (5000 if change == "hole" else 33)
        stream.write([first._replace(track=track, dts_ms=at_ms, pts_ms=at_ms)])
        await asyncio.wait_for(run.task, 10)
        assert all(packet.dts_ms < at_ms for packet in run.watcher.packets)


def clips_track() -> object:
    return next(
        packet.track for packet in packets_of(clips.make(clips.Clip("other", clips.H264.video, (), 1, 320, 240)))
    )


async def test_a_stream_that_never_comes_costs_no_child(tmp_path: Path) -> None:
    run = Run(Stream("talk"))
    await asyncio.sleep(0.1)
    assert run.transcoder.pid == 0
    run.transcoder.ended(None)
    await asyncio.wait_for(run.task, 5)
