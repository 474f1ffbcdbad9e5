"""Muxer: where it cuts, what it keeps and forgets, and whom it wakes."""

import asyncio
import time

import pytest

from relay.archive.library import Place
from relay.media import Codec, Track
from relay.web.hls import muxer as module
from relay.web.hls.cut import Segment
from relay.web.hls.muxer import Muxer
from tests.web.hls.media import AUDIO, STARTED, TURNED, VIDEO, frames, muxer, write

PLACE = Place("r1", 0, STARTED)


def lengths(segments: list[Segment]) -> list[int]:
    return [segment.duration_ms for segment in segments]


def packets_in(cut: Muxer) -> int:
    segments = [*cut.segments] + ([cut.open] if cut.open is not None else [])
    return sum(part.cut.video + part.cut.audio for segment in segments for part in segment.parts)


@pytest.mark.parametrize(
    ("gop_ms", "expected", "target_s"),
    [(500, 2000, 3), (1000, 2000, 3), (1500, 3000, 4), (2000, 2000, 3), (4000, 4000, 5), (5000, 5000, 6)],
)
def test_segments_end_at_the_first_keyframe_after_two_seconds(gop_ms: int, expected: int, target_s: int) -> None:
    cut = muxer()
    write(cut, frames(0, 31_000, gop_ms=gop_ms))
    assert set(lengths(list(cut.segments))) == {expected}
    assert cut.target_s == target_s


def test_without_keyframes_segments_end_all_the_same_and_lose_nothing() -> None:
    cut = muxer()
    packets = frames(0, 40_000, gop_ms=60_000)
    write(cut, packets)
    cut.finish()
    assert max(lengths(list(cut.segments))) <= 1000 * cut.target_s + 499
    assert packets_in(cut) == len(packets)
    assert sum(lengths(list(cut.segments))) == pytest.approx(40_000, abs=50)


@pytest.mark.parametrize(("video", "audio"), [(VIDEO, None), (None, AUDIO), (VIDEO, AUDIO)])
@pytest.mark.parametrize("tick_ms", [1, 20, 100, 3000])
def test_every_packet_is_in_one_part_however_they_come(video: Track | None, audio: Track | None, tick_ms: int) -> None:
    cut = muxer()
    packets = frames(500, 20_000, video=video, audio=audio)
    write(cut, packets, tick_ms)
    cut.finish()
    assert packets_in(cut) == len(packets)


def test_a_picture_that_starves_leaves_parts_to_the_sound() -> None:
    cut = muxer()
    before = frames(0, 6_000)
    sound = frames(6_000, 14_000, video=None)
    after = frames(14_000, 20_000)
    write(cut, [*before, *sound, *after])
    cut.finish()
    alone = [part for segment in cut.segments for part in segment.parts if not part.cut.video]
    assert len(alone) > 15, "the sound waited for the picture"
    assert packets_in(cut) == len(before) + len(sound) + len(after)


def test_sound_a_little_later_than_the_picture_is_of_the_same_epoch() -> None:
    cut = muxer()
    late = [packet for packet in frames(0, 10_000) if packet.is_video or packet.dts_ms > 700]
    write(cut, late)
    assert {segment.epoch.number for segment in cut.segments} == {cut.first_epoch}
    assert cut.segments[0].epoch.tracks == (VIDEO, AUDIO)


def test_a_turned_phone_and_a_pause_begin_new_epochs_and_an_equal_header_does_not() -> None:
    cut = muxer()
    again = Track(codec=Codec.H264, header=b"v", width=640, height=360, codec_string="avc1.42c01e")
    write(cut, frames(0, 6_000))
    write(cut, frames(6_000, 12_000, video=again))
    assert len({segment.epoch.number for segment in cut.segments}) == 1
    write(cut, frames(12_000, 18_000, video=TURNED))
    write(cut, frames(22_000, 30_000, video=TURNED))
    starts = [segment.start_ms for segment in cut.segments if segment.breaks]
    assert starts == [12_000, 22_000]


def test_dates_go_by_the_recording_where_there_is_one() -> None:
    cut = muxer(lambda: Place("r1", 100_000, STARTED + 5))
    write(cut, frames(103_000, 106_000))
    assert cut.open is not None
    assert cut.open.epoch.wall_s + 103 == STARTED + 5 + 3
    own = muxer()
    write(own, frames(103_000, 106_000))
    assert own.open is not None
    assert own.open.epoch.wall_s + 103 == STARTED


def test_memory_holds_what_the_archive_may_not_have_yet_and_the_playlist_all_of_the_window() -> None:
    cut = muxer(lambda: PLACE, window_s=60, keep_s=20)
    write(cut, frames(0, 300_000, fps=10))
    kept = [segment for segment in cut.segments if segment.is_kept]
    assert sum(lengths(kept)) == pytest.approx(22_000, abs=2_000)
    assert cut.window.kept_bytes == sum(segment.size for segment in kept) + (cut.open.size if cut.open else 0)
    listed = [segment for segment in cut.segments if segment.number >= cut.first_listed]
    assert sum(lengths(listed)) == pytest.approx(60_000, abs=2_000)
    assert sum(lengths(list(cut.segments))) == pytest.approx(120_000, abs=4_000), "loadable after it was listed"


def test_without_an_archive_memory_is_the_bound() -> None:
    cut = muxer(memory_bytes=1_000_000)
    write(cut, frames(0, 300_000, fps=10, size=2000))
    assert cut.window.kept_bytes <= 1_050_000
    listed = [segment for segment in cut.segments if segment.number >= cut.first_listed]
    assert all(segment.is_kept for segment in listed)
    assert sum(segment.size for segment in listed) == pytest.approx(666_000, rel=0.1)
    assert len(cut.segments) > len(listed)


async def test_those_who_wait_are_woken_by_the_part_they_wait_for_and_no_later() -> None:
    cut = muxer()
    write(cut, frames(0, 5_000))
    assert cut.open is not None
    number, part = cut.open.number, len(cut.open.parts)
    waits = [asyncio.create_task(cut.wait(number, part + ahead, 20)) for ahead in range(2)]
    next_one = asyncio.create_task(cut.wait(number + 1, None, 20))
    await asyncio.sleep(0)
    write(cut, frames(5_000, 5_500))
    assert await waits[0]
    assert not waits[1].done()
    waits[1].cancel()  # one who leaves takes nobody along
    write(cut, frames(5_500, 12_000))
    assert await next_one


async def test_who_waits_in_vain_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.02)
    cut = muxer()
    write(cut, frames(0, 5_000))
    assert cut.open is not None
    started = time.monotonic()
    assert not await cut.wait(cut.open.number + 1, None, 0.1)
    assert time.monotonic() - started >= 0.1
    waiting = asyncio.create_task(cut.wait(cut.open.number + 1, None, 20))
    await asyncio.sleep(0)
    cut.finish()
    assert await waiting, "the end is an answer, too"


async def test_a_part_beyond_the_last_of_a_segment_means_the_next_segment() -> None:
    cut = muxer()
    write(cut, frames(0, 4_050))
    last = cut.segments[-1]
    assert cut.has(last.number, len(last.cuts) - 1)
    assert not cut.has(last.number, len(last.cuts))
    write(cut, frames(4_050, 4_600))
    assert cut.has(last.number, len(last.cuts))


async def test_a_fault_costs_an_epoch_and_not_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    cut = muxer()
    write(cut, frames(0, 5_000))
    with monkeypatch.context() as broken:
        broken.setattr(cut, "_cut", lambda *_: 1 / 0)
        write(cut, frames(5_000, 5_100))
    assert cut.stream.readers == 0
    await asyncio.sleep(0.05)
    write(cut, frames(6_000, 12_000))
    assert [segment.breaks for segment in cut.segments].count(True) == 1
    assert cut.segments[-1].end_ms >= 10_000


def by_number(cut: Muxer) -> list[tuple[int, int, int]]:
    return [(segment.start_ms, segment.duration_ms, segment.size) for segment in cut.segments]


@pytest.mark.parametrize("tick_ms", [1, 50, 100, 700])
@pytest.mark.parametrize(("fps", "gop_ms"), [(30, 2000), (25, 3000), (7, 2000), (30, 60_000)])
def test_who_watches_changes_nothing_about_where_segments_begin_and_end(tick_ms: int, fps: int, gop_ms: int) -> None:
    packets = frames(0, 40_000, fps=fps, gop_ms=gop_ms)
    found = []
    for watched in (True, False):
        cut = muxer(lambda: PLACE, watched=watched)
        write(cut, packets, tick_ms)
        cut.finish()
        found.append((by_number(cut), cut.target_s))
        assert cut.part_target_ms <= 500
    assert found[0] == found[1]


@pytest.mark.parametrize("audio", [AUDIO, None])
def test_whoever_comes_finds_the_newest_segments_cut_into_parts(audio: Track | None) -> None:
    packets = frames(0, 20_900, audio=audio)
    cuts = []
    for watched in (True, False):
        cut = muxer(lambda: PLACE, watched=watched)
        write(cut, packets)
        cut.asked()
        newest = cut.segments[-1]
        assert newest.is_cut_up
        assert cut.open is not None
        cuts.append((newest.cuts, newest.size, cut.open.cuts, cut.is_flowing))
        write(cut, frames(20_900, 26_000, gop_ms=60_000, audio=audio))
        cuts[-1] = (*cuts[-1], cut.open.cuts)
    assert cuts[0] == cuts[1]
    assert (len(cuts[0][0]), len(cuts[0][2])) == (5, 2)


def test_unwatched_what_is_amiss_is_seen_all_the_same() -> None:
    cut = muxer(lambda: PLACE, watched=False)
    write(cut, frames(0, 6_000))
    write(cut, frames(6_000, 12_000, video=TURNED))
    write(cut, frames(16_000, 24_000, video=TURNED))
    cut.resumed()
    write(cut, frames(24_000, 31_000, video=TURNED))
    assert [segment.start_ms for segment in cut.segments if segment.breaks] == [6_000, 16_000, 24_000]
    cut.holding()
    assert not cut.is_flowing


def test_after_a_minute_without_a_question_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    cut = muxer(lambda: PLACE, watched=True)
    write(cut, frames(0, 10_000))
    assert len([segment for segment in cut.segments if segment.is_kept]) > 1
    now[0] += 59
    write(cut, frames(10_000, 16_000))
    assert cut.is_watched
    now[0] += 2
    write(cut, frames(16_000, 20_100))
    assert not cut.is_watched
    assert [segment.is_kept for segment in cut.segments].count(True) == 1
