"""The recorder on a hub stream and a real disk: where parts begin, what is acknowledged, what a bad disk costs."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from relay.archive import parts as parts_module
from relay.archive import recorder as module
from relay.archive.committer import Committer
from relay.archive.recorder import (
    DISK,
    DISK_FULL,
    DROPPED,
    LINK_LOST,
    NO_LIMIT,
    STALLED,
    ClosedPart,
    Earlier,
    Recorder,
)
from relay.archive.spool import Part, read_part
from relay.hub import Stream
from relay.media import Codec, Packet, Track

VIDEO = Track(codec=Codec.VP9, header=b"\x01\x00\x00\x00\x00\x0a\x82\x00\x00\x00\x00\x00", codec_string="vp09.00.10.08")
OTHER = Track(codec=Codec.VP9, header=b"\x01\x00\x00\x00\x01\x0a\x82\x00\x00\x00\x00\x00", codec_string="vp09.01.10.08")
AUDIO = Track(codec=Codec.MP3, sample_rate=44100, channels=2, codec_string="mp4a.6b")


def video(dts_ms: int, key: bool = False, track: Track = VIDEO, size: int = 20) -> Packet:
    return Packet(track, dts_ms, dts_ms, key, dts_ms.to_bytes(8, "big") + bytes(size))


def audio(dts_ms: int) -> Packet:
    return Packet(AUDIO, dts_ms, dts_ms, True, b"\xff\xfb\x90\x64" + dts_ms.to_bytes(8, "big"))


def pictures(start_ms: int, end_ms: int, *, every: int = 2000, step: int = 40, track: Track = VIDEO) -> list[Packet]:
    """Video from a keyframe at ``start_ms`` on, a keyframe each ``every`` ms."""
    return [video(at, (at - start_ms) % every == 0, track) for at in range(start_ms, end_ms, step)]


class Bench:
    """A stream, a recorder reading it, and what became of its parts."""

    def __init__(self, folder: Path, committer: Committer, before: Earlier | None = None, late: bool = False) -> None:
        self.folder = folder / "talk" / "r1"
        self.committer = committer
        self.stream = Stream("talk")
        self.stream.set_keeper(True)
        self.acknowledged: list[int] = []
        self.stream.on_commit(self.acknowledged.append)
        self.parts: list[ClosedPart] = []
        self.begun_count = 0
        self.over = asyncio.Event()
        self.recorder = Recorder(
            self.stream,
            "r1",
            self.folder,
            committer,
            self,
            segment_ms=6000,
            now=lambda: 1000.0,
            before=before,
            late=late,
        )
        self.stream.subscribe(self.recorder, NO_LIMIT, whole=True)

    def begun(self, recorder: Recorder) -> None:
        self.begun_count += 1

    def closed(self, part: ClosedPart) -> None:
        self.parts.append(part)

    def finished(self, recorder: Recorder) -> None:
        self.over.set()

    def write(self, packets: Sequence[Packet], tick: int = 7) -> None:
        for at in range(0, len(packets), tick):
            self.stream.write(packets[at : at + tick])

    async def end(self) -> list[Part]:
        """End the stream; every part read back."""
        self.stream.reset()
        async with asyncio.timeout(20):
            await self.over.wait()
        found = [read_part(part.path, part.before_seq) for part in self.parts]
        return [part for part in found if part is not None]


@pytest.fixture
async def committer() -> AsyncIterator[Committer]:
    committer = Committer(0.01)
    yield committer
    await committer.close()


@pytest.fixture
def bench(tmp_path: Path, committer: Committer) -> Bench:
    return Bench(tmp_path, committer)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""  # the listing's own descriptor


def held(parts: Sequence[Part]) -> list[bytes]:
    return [packet.data for part in parts for packet in part.packets]


async def test_parts_begin_at_the_first_keyframe_after_a_segment(bench: Bench) -> None:
    sent = pictures(500, 20_500)
    bench.write(sent)
    parts = await bench.end()
    assert held(parts) == [packet.data for packet in sent]
    assert [part.info.start_ms for part in parts] == [500, 6500, 12500, 18500]
    assert [part.end_ms for part in bench.parts] == [6500, 12500, 18500, None]
    assert [part.info.first_seq for part in parts] == [1, 151, 301, 451]
    assert [part.info.started_at for part in parts] == [1000.0, 1006.0, 1012.0, 1018.0]
    assert all(part.packets[0].is_keyframe for part in parts)
    assert bench.begun_count == 1


async def test_any_ticks_make_the_same_parts(tmp_path: Path, committer: Committer) -> None:
    sent = sorted([*pictures(0, 15_000), *(audio(at) for at in range(0, 15_000, 26))], key=lambda packet: packet.dts_ms)
    found = []
    for tick in (1, 3, 50, 10_000):
        bench = Bench(tmp_path / str(tick), committer)
        bench.write(sent, tick)
        found.append([(part.info.start_ms, [packet[1:] for packet in part.packets]) for part in await bench.end()])
    assert all(parts == found[0] for parts in found)
    assert len(found[0]) == 3


async def test_sound_alone_is_cut_anywhere(bench: Bench) -> None:
    bench.write([audio(at) for at in range(0, 13_000, 26)])
    assert [part.info.start_ms for part in await bench.end()] == [0, 6006, 12012]


async def test_without_keyframes_a_part_still_ends(bench: Bench) -> None:
    bench.write(pictures(0, 62_000, every=1_000_000))
    parts = await bench.end()
    assert [part.info.start_ms for part in parts] == [0, 30_000, 60_000]
    assert not parts[1].packets[0].is_keyframe


async def test_a_large_part_ends_early(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 20_000)
    sent = [video(at, at == 0, size=1000) for at in range(0, 2000, 40)]
    bench.write(sent)
    parts = await bench.end()
    assert held(parts) == [packet.data for packet in sent]
    assert len(parts) == 3


async def test_a_changed_track_begins_a_part_and_an_equal_one_does_not(bench: Bench) -> None:
    same = Track(codec=VIDEO.codec, header=VIDEO.header, codec_string=VIDEO.codec_string)
    bench.write([*pictures(0, 2000), *pictures(2000, 4000, track=same), *pictures(4000, 6000, track=OTHER)])
    parts = await bench.end()
    assert [part.info.start_ms for part in parts] == [0, 4000]
    assert parts[1].packets[0].track.header == OTHER.header
    assert bench.parts[0].end_ms == 4000


async def test_a_hole_begins_a_part_that_says_why(bench: Bench) -> None:
    bench.write(pictures(0, 2000))
    bench.stream.stats.publishers += 1
    bench.recorder.resumed()
    bench.write(pictures(5000, 6000))
    bench.recorder.resumed()
    bench.write(pictures(7000, 8000))
    bench.recorder.resumed()
    bench.write(pictures(8000, 9000))
    bench.write(pictures(12000, 13000))
    parts = await bench.end()
    assert [(part.info.start_ms, part.info.gap) for part in parts] == [
        (0, ""),
        (5000, LINK_LOST),
        (7000, STALLED),
        (12000, DROPPED),
    ]
    assert [part.end_ms for part in bench.parts] == [None, None, None, None]


async def test_a_return_without_a_hole_goes_on_in_the_same_part(bench: Bench) -> None:
    bench.write(pictures(0, 2000))
    bench.recorder.resumed()
    bench.write(pictures(2000, 4000))
    assert len(await bench.end()) == 1


async def test_a_slow_stream_soon_has_no_holes(bench: Bench) -> None:
    bench.write([video(at, at % 5000 == 0) for at in range(0, 60_000, 1000)], 1)
    parts = await bench.end()
    assert [part.info.start_ms for part in parts if part.info.gap and part.info.start_ms > 5000] == []
    assert len(held(parts)) == 60


async def test_only_what_is_on_disk_is_acknowledged(bench: Bench) -> None:
    bench.write(pictures(0, 1000))
    assert bench.acknowledged == []
    await bench.committer.drain()
    assert bench.acknowledged[-1] == 25
    part = read_part(bench.folder / "000000.flv.part")
    assert part is not None
    assert part.last_seq == 25
    await bench.end()


async def test_a_disk_that_fails_for_a_while_costs_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "RETRY_S", 0.02)
    (tmp_path / "talk").write_text("in the way")
    sent = pictures(0, 20_000)
    bench.write(sent[:300])
    await bench.committer.drain()
    assert bench.acknowledged == []
    assert "talk" in bench.recorder.disk_error
    (tmp_path / "talk").unlink()
    bench.write(sent[300:])
    parts = await bench.end()
    assert held(parts) == [packet.data for packet in sent]
    assert bench.acknowledged[-1] == len(sent)
    assert bench.recorder.disk_error == ""
    assert [part.info.seq for part in parts] == [0, 1, 2, 3]


async def test_a_part_that_fails_midway_goes_on_in_another(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "RETRY_S", 0.02)
    sent = pictures(0, 5000)
    bench.write(sent[:50])
    await bench.committer.drain()
    # The kernel now refuses every write to the open file, as after an error of the device.
    path = bench.folder / "000000.flv.part"
    (fd,) = [int(link.name) for link in Path("/proc/self/fd").iterdir() if _target(link) == str(path)]
    refusing = os.open(path, os.O_RDONLY)
    os.dup2(refusing, fd)
    os.close(refusing)
    bench.write(sent[50:])
    parts = await bench.end()
    assert held(parts) == [packet.data for packet in sent]
    assert [(part.info.start_ms, part.info.gap) for part in parts] == [(0, ""), (2000, "")]
    assert bench.parts[0].end_ms == 2000
    assert bench.acknowledged[-1] == len(sent)


async def test_past_the_limit_media_is_dropped_to_a_keyframe_and_never_acknowledged(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "RETRY_S", 0.02)
    monkeypatch.setattr(module, "WAITING_BYTES", 5_000)
    (tmp_path / "talk").write_text("in the way")
    sent = pictures(0, 20_000)
    bench.write(sent[:400])
    await bench.committer.drain()
    assert bench.recorder._parts.waiting_bytes < 6_000
    assert bench.recorder.dropped_packets > 0
    (tmp_path / "talk").unlink()
    await asyncio.sleep(0.1)
    await bench.committer.drain()
    reached = bench.stream.durable_seq
    bench.write(sent[400:])
    parts = await bench.end()
    last = parts[-1]
    assert (last.info.gap, last.packets[0].is_keyframe) == (DISK, True)
    kept = held(parts)
    assert len(kept) == len(sent) - bench.recorder.dropped_packets
    assert kept == [packet.data for packet in sent if packet.data in set(kept)]
    assert bench.stream.durable_seq == reached < 400


async def test_a_recording_goes_on_after_a_restart(tmp_path: Path, committer: Committer) -> None:
    bench = Bench(tmp_path, committer, Earlier(started_at=900.0, ended_at=990.0, end_ms=80_000, next_number=14))
    bench.write(pictures(0, 1000))
    (part,) = await bench.end()
    assert (part.info.seq, part.info.gap, part.info.recording_started_at) == (14, LINK_LOST, 900.0)
    assert part.info.start_ms - part.info.recording_base_ms == 90_000
    assert part.info.started_at == 990.0


async def test_a_paused_recording_goes_on_at_a_keyframe_behind_a_gap(bench: Bench) -> None:
    sent = pictures(0, 20_000)
    bench.write(sent[:100])
    await bench.committer.drain()
    bench.recorder.pause()
    bench.write(sent[100:240])
    assert bench.recorder.dropped_until_ms == sent[239].dts_ms
    bench.recorder.resume()
    bench.write(sent[240:])
    parts = await bench.end()
    kept = [packet for packet in sent if packet.dts_ms < 4000 or packet.dts_ms >= 10_000]
    assert held(parts) == [packet.data for packet in kept]
    assert [(part.info.start_ms, part.info.gap) for part in parts[:2]] == [(0, ""), (10_000, DISK_FULL)]
    assert bench.recorder.dropped_packets == 150
    assert bench.stream.durable_seq == 100, "an Acknowledgement of what came later would cover what was dropped"


async def test_nothing_kept_after_a_pause_is_told(bench: Bench) -> None:
    sent = pictures(0, 8000)
    bench.write(sent[:100])
    bench.recorder.pause()
    bench.write(sent[100:])
    await bench.end()
    assert bench.recorder.kept_until_ms == sent[99].dts_ms
    assert (bench.recorder.dropped_until_ms, bench.recorder.dropped_for) == (sent[-1].dts_ms, DISK_FULL)


async def test_a_recorder_that_comes_late_begins_at_a_keyframe_and_acknowledges_nothing(
    tmp_path: Path, committer: Committer
) -> None:
    bench = Bench(tmp_path, committer, late=True)
    sent = pictures(0, 5000)
    bench.write(sent[3:])
    (part,) = await bench.end()
    assert held([part]) == [packet.data for packet in sent if packet.dts_ms >= 2000]
    assert (part.info.recording_base_ms, part.info.gap) == (2000, "")
    assert bench.acknowledged == []


async def test_times_beyond_32_bits_survive(bench: Bench) -> None:
    start = 1 << 33
    sent = [*pictures(start, start + 7000), *pictures(start + (3 << 30), start + (3 << 30) + 1000)]
    bench.write(sent)
    parts = await bench.end()
    assert [packet.dts_ms for part in parts for packet in part.packets] == [packet.dts_ms for packet in sent]


async def test_a_stream_without_packets_leaves_nothing(bench: Bench) -> None:
    assert await bench.end() == []
    assert bench.begun_count == 0


async def test_a_hole_inside_a_read_is_a_gap(bench: Bench) -> None:
    """A link that burst: what was before the hole comes in one read with what is behind it."""
    bench.write(pictures(0, 2000))
    bench.stream.write([*pictures(2000, 2400), *pictures(5400, 6000)])
    parts = await bench.end()
    assert [(part.info.start_ms, part.info.gap) for part in parts] == [(0, ""), (5400, DROPPED)]
