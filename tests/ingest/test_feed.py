"""SegmentFeed: each segment once, in order, contiguous; holes, late ones, new runs, takeovers, restarts, endings."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from relay.errors import MediaError, RefusedError
from relay.hub import StreamState
from relay.hub.batch import Note
from relay.ingest.segment import Outcome
from relay.media import Packet
from tests.ingest import segments
from tests.ingest.keeping import LIMITS, channel, until
from tests.ingest.segments import AAC, AUDIO, H264, VIDEO, Piece

IMPATIENT = LIMITS.model_copy(update={"hls_window_s": 0.2})
PATIENT = LIMITS.model_copy(update={"hls_window_s": 30.0})


@pytest.fixture
def pieces(tmp_path: Path) -> Sequence[Piece]:
    return segments.made(tmp_path / "made", *VIDEO, *AUDIO, *H264, *AAC, seconds=8)


def steps(packets: Sequence[Packet], *, video: bool = True) -> list[int]:
    times = [packet.dts_ms for packet in packets if packet.is_video == video]
    return [after - before for before, after in pairwise(times)]


async def test_segments_in_order_are_contiguous(pieces: Sequence[Piece]) -> None:
    async with channel() as made:
        for piece in pieces:
            assert await made.put(piece) is Outcome.STORED
        kept = made.kept
        assert kept.names() == [piece.name for piece in pieces]
        assert kept.missing == [0] * 8
        assert set(steps(kept.packets)) == {33, 34}
        assert set(steps(kept.packets, video=False)) <= {21, 22}
        for batch in kept.batches:
            times = [packet.dts_ms for packet in batch.packets]
            assert times == sorted(times), "tracks are interleaved"
        assert len({id(packet.track) for packet in kept.packets}) == 2
        stream = made.hub.stream("demo")
        assert stream.state is StreamState.LIVE
        info = made.feed.info()
        assert info.protocol == "hls"


async def test_the_answer_waits_for_the_disk(pieces: Sequence[Piece]) -> None:
    async with channel(at_once=False) as made:
        putting = asyncio.create_task(made.put(pieces[0]))
        await until(lambda: len(made.kept.batches) == 1)
        again = asyncio.create_task(made.put(pieces[0]))
        await asyncio.sleep(0.05)
        assert not putting.done()
        assert not again.done()
        made.kept.commit()
        assert (await putting, await again) == (Outcome.STORED, Outcome.KNOWN)
        assert await made.put(pieces[0]) is Outcome.KNOWN
        assert len(made.kept.batches) == 1


async def test_out_of_order_within_the_window(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT) as made:
        await made.put(pieces[0])
        made.feed.uploading += 1  # what is missing is on its way
        later = [asyncio.create_task(made.put(pieces[number])) for number in (2, 3)]
        await asyncio.sleep(0.3)
        assert len(made.kept.batches) == 1
        await made.put(pieces[1])
        assert await asyncio.gather(*later) == [Outcome.STORED] * 2
        assert made.kept.names() == [piece.name for piece in pieces[:4]]
        assert made.kept.missing == [0] * 4


async def test_an_encoder_that_sends_one_after_the_other_is_not_held_up(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT) as made:
        await made.put(pieces[0])
        async with asyncio.timeout(20):
            await made.put(pieces[3])
        assert made.kept.missing == [0, 2]
        assert max(steps(made.kept.packets)) > 2000, "time that is missing is a hole"
        assert await made.put(pieces[2]) is Outcome.BACKFILLED
        assert await made.put(pieces[1]) is Outcome.BACKFILLED
        assert await made.put(pieces[1]) is Outcome.KNOWN
        whole = made.kept.packets + [packet for _, packets in made.kept.late for packet in packets]
        assert set(steps(sorted(whole, key=lambda packet: packet.dts_ms))) == {33, 34}, "late ones fit exactly"
        made.kept.takes_late = False
        await made.put(pieces[5])
        with pytest.raises(RefusedError, match="came too late: there is no place"):
            await made.put(pieces[4])
        assert (await made.put(pieces[6])) is Outcome.STORED
        assert made.hub.stream("demo").stats.publishers == 1


async def test_those_sent_at_once_keep_their_order_from_the_first_on(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT) as made:
        await asyncio.gather(*(made.put(piece) for piece in pieces))
        assert made.kept.names() == [piece.name for piece in pieces]
        assert made.kept.missing == [0] * 8


async def test_when_many_wait_the_missing_one_is_given_up(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT) as made:
        await made.put(pieces[0])
        made.feed.uploading += 1
        later = [asyncio.create_task(made.put(pieces[number])) for number in (2, 4, 3)]
        await asyncio.gather(*later)
        assert made.kept.missing == [0, 1, 0, 0]


async def test_what_a_playlist_says_is_missing_is_not_waited_for(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT) as made:
        await made.put(pieces[0])
        made.feed.missing([1], "seg#.ts")
        made.feed.uploading += 1
        await made.put(pieces[2])
        assert made.kept.missing == [0, 1]


async def test_an_encoder_that_starts_again(pieces: Sequence[Piece]) -> None:
    async with channel() as made:
        for piece in pieces[:3]:
            await made.put(piece)
        # The same numbers with other media, and a clock that begins anew.
        for number, piece in enumerate(pieces[4:7]):
            assert await made.put(piece, f"seg{number:05}.ts") is Outcome.STORED
        assert made.kept.missing == [0] * 6
        assert made.kept.late == []
        assert max(steps(made.kept.packets)) < 1500
        assert min(steps(made.kept.packets)) > 0
        stats = made.hub.stream("demo").stats
        assert (stats.publishers, stats.takeovers) == (2, 1)
        assert await made.put(pieces[7], "other1.ts") is Outcome.STORED
        assert made.evictions == []


async def test_two_encoders_that_fight_are_told(pieces: Sequence[Piece]) -> None:
    async with channel() as made:
        refused: list[RefusedError] = []
        for number, piece in enumerate(pieces):
            try:
                await made.put(piece, f"{'ab'[number % 2]}{number}.ts")
            except RefusedError as error:
                refused.append(error)
            await until(lambda: made.hub.stream("demo").last_dts_ms is not None)
        assert refused
        assert all("another encoder is live on demo with this key" in str(error) for error in refused)


@pytest.mark.parametrize("said", [True, False], ids=["said", "silent"])
async def test_a_clock_that_jumps_goes_on_where_it_was(said: bool, pieces: Sequence[Piece], tmp_path: Path) -> None:
    words = (*VIDEO, *AUDIO, *H264, *AAC, "-output_ts_offset", "5000")
    elsewhere = segments.made(tmp_path / "elsewhere", *words, seconds=3)
    async with channel() as made:
        for number, piece in enumerate((*pieces[:2], *elsewhere, *pieces[2:4])):
            await made.put(piece, f"s{number}.ts", discontinuity=said and number in (2, 5))
        assert made.kept.missing == [0] * 7
        assert min(steps(made.kept.packets)) > 0
        assert max(steps(made.kept.packets)) < 120
        assert made.hub.stream("demo").stats.publishers == 1


async def test_names_that_count_in_strides(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT) as made:
        for number, piece in enumerate(pieces[:4]):
            await made.put(piece, f"chunk-{1700000000 + 6 * number}.ts")
        await made.put(pieces[5], f"chunk-{1700000000 + 30}.ts")
        assert made.kept.missing == [0, 0, 0, 0, 1]


async def test_names_without_numbers(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT) as made:
        for name, piece in zip("abcd", pieces, strict=False):
            await made.put(piece, f"{name}.ts")
        assert made.kept.missing == [0] * 4
        assert set(steps(made.kept.packets)) == {33, 34}


async def test_audio_and_video_apart(tmp_path: Path) -> None:
    video = segments.made(tmp_path / "video", *VIDEO, *H264, kind="fmp4", seconds=3)
    audio = segments.made(tmp_path / "audio", *AUDIO, *AAC, kind="fmp4", seconds=3)
    async with channel() as made:
        for number, (one, other) in enumerate(zip(video, audio, strict=False), 1):
            await made.put(one, f"chunk-stream0-{number:05}.m4s")
            await made.put(other, f"chunk-stream1-{number:05}.m4s")
        assert made.kept.missing == [0] * 6
        assert made.hub.stream("demo").stats.publishers == 1
        assert set(steps(made.kept.packets)) == {33, 34}
        assert set(steps(made.kept.packets, video=False)) <= {21, 22}
        first = [
            next(packet.dts_ms for packet in made.kept.packets if packet.is_video == kind) for kind in (True, False)
        ]
        assert abs(first[0] - first[1]) < 100, "both on one clock"


async def test_after_a_restart_nothing_is_kept_twice(pieces: Sequence[Piece]) -> None:
    async with channel() as made:
        for piece in pieces[:3]:
            await made.put(piece)
        before = made.kept.batches.copy()
    async with channel() as made:
        counts = [len(batch.packets) for batch in before]
        counts[-1] -= 20  # what was not on disk yet
        made.kept.notes = [Note(batch.note, count) for batch, count in zip(before, counts, strict=True)]
        assert [await made.put(piece) for piece in pieces[1:5]] == [Outcome.KNOWN, *[Outcome.STORED] * 3]
        assert len(made.kept.batches[0].packets) == 20
        assert [packet.data for packet in made.kept.batches[0].packets] == [
            packet.data for packet in before[-1].packets[-20:]
        ]
        assert made.kept.missing == [0] * 3
    async with channel() as made:
        made.kept.notes = [Note(batch.note, len(batch.packets)) for batch in before] + [Note("somebody's", 3)]
        await made.put(pieces[4])
        assert made.kept.missing == [1], "the hole counts from what is on disk"
    async with channel() as made:
        made.kept.notes = [Note('{"name":"seg00700.ts","sha256":""}', 3), Note(before[1].note, 1000)]
        await made.put(pieces[3])
        assert made.kept.missing == [1], "an earlier run of the encoder counts no more"
        assert made.hub.stream("demo").stats.publishers == 1


async def test_what_is_no_media_leaves_nothing_and_may_be_sent_again(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT) as made:
        broken = Piece(pieces[0].name, b"\x47" + b"\0" * 1879, b"")
        with pytest.raises(MediaError):
            await made.put(broken)
        assert made.hub.stream("demo").state is StreamState.OFFLINE
        assert made.hub.lease("demo") is None
        for piece in pieces[:2]:
            assert await made.put(piece) is Outcome.STORED


async def test_eviction_and_return(pieces: Sequence[Piece]) -> None:
    async with channel() as made:
        await made.put(pieces[0])
        other = made.new_feed()
        first, made.feed = made.feed, other
        await made.put(pieces[5], "x1.ts")
        assert made.evictions == ["another encoder took over with the same key"]
        made.feed = first
        await made.put(pieces[1])
        assert made.kept.missing == [0] * 3
        assert min(steps(made.kept.packets)) > 0


async def test_the_same_segments_long_after_somebody_took_over_are_new_ones(
    pieces: Sequence[Piece], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test clip sent again after another encoder had the channel."""
    monkeypatch.setattr("relay.ingest.feed.FORGET_S", 0.3)
    async with channel() as made:
        first, other = made.feed, made.new_feed()
        assert await made.put(pieces[0]) is Outcome.STORED
        made.feed = other
        await made.put(pieces[5], "x1.ts")
        made.feed = first
        await asyncio.sleep(0.4)
        assert await made.put(pieces[0]) is Outcome.STORED
        assert await made.put(pieces[0]) is Outcome.KNOWN


async def test_those_on_their_way_when_the_channel_goes_are_answered(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT, at_once=False) as made:
        kept = asyncio.create_task(made.put(pieces[0]))
        await until(lambda: len(made.kept.batches) == 1)
        made.feed.uploading += 1
        waiting = asyncio.create_task(made.put(pieces[2]))
        await asyncio.sleep(0.2)
        made.hub.end("demo", "the channel was closed")
        with pytest.raises(RefusedError, match="the channel was closed"):
            await waiting
        made.kept.commit()
        made.feed.check(asyncio.get_running_loop().time())
        assert await kept is Outcome.STORED


async def test_a_channel_that_was_deleted_is_not_made_again(pieces: Sequence[Piece]) -> None:
    async with channel(PATIENT, at_once=False) as made:
        kept = asyncio.create_task(made.put(pieces[0]))
        await until(lambda: len(made.kept.batches) == 1)
        made.hub.remove("demo")
        made.feed.check(asyncio.get_running_loop().time())
        with pytest.raises(RefusedError, match="the channel is gone"):
            await kept
        assert "demo" not in made.hub.streams


async def test_silence_is_a_stall_and_then_the_end(pieces: Sequence[Piece]) -> None:
    async with channel(LIMITS.model_copy(update={"media_stalled_s": 5.0, "media_closed_s": 60.0})) as made:
        await made.put(pieces[0])
        stream, now = made.hub.stream("demo"), asyncio.get_running_loop().time()
        lease = made.hub.lease("demo")
        assert lease is not None
        made.feed.check(now + 5.5)
        assert stream.state is StreamState.LIVE, "a segment's own length is no silence"
        made.feed.check(now + 8)
        assert stream.state is StreamState.LIVE, "some of it is not shown yet"
        await until(lambda: lease.unshown_ms == 0)
        made.feed.check(now + 8)
        assert stream.state is StreamState.HOLDING
        await made.put(pieces[1])
        assert stream.state is StreamState.LIVE
        made.feed.check(asyncio.get_running_loop().time() + 70)
        assert made.hub.lease("demo") is None
        assert stream.state is StreamState.HOLDING, "it did not say goodbye"
        await made.put(pieces[2])
        assert made.kept.missing == [0] * 3


async def test_a_goodbye_waits_until_all_is_shown(pieces: Sequence[Piece]) -> None:
    async with channel() as made:
        await made.put(pieces[0])
        made.feed.end(clean=True)
        made.feed.check(asyncio.get_running_loop().time())
        stream = made.hub.stream("demo")
        assert stream.state is StreamState.LIVE
        await until(lambda: not made.feed.is_busy)
        made.feed.check(asyncio.get_running_loop().time())
        assert stream.state is StreamState.OFFLINE
        assert stream.ended_cleanly
        await made.put(pieces[1], "again0.ts")
        made.feed.end(clean=True)
        await made.put(pieces[2], "again1.ts")
        await until(lambda: not made.feed.is_busy)
        made.feed.check(asyncio.get_running_loop().time())
        assert stream.state is StreamState.LIVE, "it goes on after all"
