"""Lane: what is due goes, what is missing is waited for as long as it may still come, and remembered after that."""

import asyncio

import pytest

from relay.config import LimitSettings
from relay.errors import RefusedError
from relay.ingest.demux import Demuxed
from relay.ingest.order import HOLES_MOST, Lane, Piece, Turns
from relay.ingest.segment import Key, Segment
from relay.ingest.segment_clock import SegmentClock
from relay.protocol import flv

LIMITS = LimitSettings(hls_window_s=6, hls_window_segments=3)
TAGS = [flv.Tag(flv.VIDEO, 0, b"", 0)]


class Track:
    """A lane and its clock, in the hands of a test: ``now`` stands still; segments last 2 s."""

    def __init__(self) -> None:
        self.lane = Lane(LIMITS)
        self.clock = SegmentClock()
        self.now = 100.0

    def piece(self, number: int, at_ms: int | None = None) -> Piece:
        read = Demuxed(2000 * number if at_ms is None else at_ms, 1000, 0, 2000, TAGS)
        segment = Segment(number, f"{number}.ts", b"")
        return Piece(segment, Key(segment.name, ""), read, asyncio.get_running_loop().create_future())

    def add(self, *numbers: int) -> None:
        for number in numbers:
            self.lane.add(self.piece(number), self.now)

    def popped(self, others: int = 0) -> list[tuple[int, int]]:
        """(number, missing before it) of all that goes now."""
        found = []
        while (
            due := self.lane.pop(self.now, others, lambda piece: self.clock.gap_ms(piece.read, self.lane.end))
        ) is not None:
            piece, missing = due
            before = self.clock.offset_ms
            ended = self.lane.end.at_ms
            start = self.clock.begin(piece.read, self.lane.end, origin_ms=0, missing=missing)
            self.lane.written(piece, start, ended, (before, self.clock.offset_ms))
            found.append((piece.number, missing))
        return found

    def late(self, number: int, at_ms: int | None = None) -> int | None:
        return self.lane.place_of_late(self.piece(number, at_ms), self.clock, self.now)


@pytest.fixture
async def track() -> Track:
    return Track()


async def test_in_order(track: Track) -> None:
    track.add(5)
    assert track.popped() == [(5, 0)]
    track.add(6)
    track.add(7)
    assert track.popped() == [(6, 0), (7, 0)]
    assert (track.lane.next, track.lane.kinds, len(track.lane)) == (8, {flv.VIDEO}, 0)


async def test_alone_it_waits_as_long_as_a_segment_lasts(track: Track) -> None:
    track.add(1)
    track.popped()
    track.add(3)
    track.now += 1.9
    assert track.popped() == []
    track.now += 0.2
    assert track.popped() == [(3, 1)]


async def test_while_others_are_under_way_it_waits_for_the_window(track: Track) -> None:
    track.add(1)
    track.popped()
    track.add(3)
    track.now += 5.9
    assert track.popped(others=1) == []
    track.add(2)
    assert track.popped(others=1) == [(2, 0), (3, 0)]
    track.add(6)
    track.now += 6.1
    assert track.popped(others=1) == [(6, 2)]


async def test_the_very_first_waits_for_others_that_may_belong_before_it(track: Track) -> None:
    track.add(2)
    assert track.popped(others=1) == []
    track.add(1)
    assert track.popped() == [(1, 0), (2, 0)]
    other = Track()
    other.add(9)
    other.now += 1.1
    assert other.popped(others=5) == [(9, 0)]


async def test_three_that_wait_or_a_hurry_end_the_wait(track: Track) -> None:
    track.add(1)
    track.popped()
    track.add(4, 3)
    assert track.popped(others=9) == []
    track.add(6)
    assert track.popped(others=9) == [(3, 1), (4, 0)]
    track.lane.hurry()
    assert track.popped(others=9) == [(6, 1)]


async def test_numbers_that_will_not_come(track: Track) -> None:
    track.add(1)
    track.popped()
    track.lane.skip([2, 3, 5, 10**15])
    track.add(4)
    assert track.popped(others=9) == [(4, 2)]
    track.add(7)
    assert track.popped(others=9) == []
    track.lane.skip([6])
    assert track.popped(others=9) == [(7, 2)]


async def test_the_first_wake_up_is_when_the_wait_is_over(track: Track) -> None:
    woken = asyncio.Event()
    track.add(1)
    track.popped()
    track.now = asyncio.get_running_loop().time() - 1.9
    track.add(3)
    track.lane.look_again(track.now + 1.9, 0, woken.set)
    async with asyncio.timeout(20):
        await woken.wait()
    assert [piece.number for piece in track.lane.drop()] == [3]
    assert track.lane.drop() == []


async def test_a_number_that_comes_twice(track: Track) -> None:
    track.add(1)
    track.popped()
    first, second = track.piece(3), track.piece(3)
    for piece in (first, second):
        track.lane.add(piece, track.now)
    with pytest.raises(RefusedError, match="another segment with the same number"):
        await first.done
    assert not second.done.done()


async def test_late_ones_have_their_place(track: Track) -> None:
    track.add(1)
    track.popped()
    track.add(4)
    track.lane.hurry()
    track.popped()
    assert (track.late(2), track.late(3)) == (2000, 4000)
    track.lane.filled(2)
    assert track.late(2) is None
    assert track.late(1) is None, "it was here: whoever sends other bytes under this number begins anew"


async def test_a_clock_that_jumped_over_the_hole(track: Track) -> None:
    track.add(1)
    track.popped()
    track.lane.hurry()
    track.lane.add(track.piece(4, at_ms=900_000), track.now)
    track.popped()
    assert (track.late(2), track.late(3, at_ms=898_000)) == (2000, 4000)


async def test_before_the_first_one(track: Track) -> None:
    track.add(10)
    track.popped()
    assert track.late(9) == -2000
    assert track.late(9, at_ms=0) is None, "another clock: an encoder that begins anew"
    assert track.late(2) is None
    track.now += 60
    assert track.late(9) is None


async def test_leaps_are_no_holes_and_holes_are_bounded(track: Track) -> None:
    track.add(1)
    track.popped()
    track.add(10**12)
    assert track.popped(others=9) == [(10**12, 0)]
    track.lane.hurry()
    for number in range(10**12 + 300, 10**12 + 30_000, 300):
        track.lane.add(track.piece(number), track.now)
        track.popped()
    assert len(track.lane._holes) <= HOLES_MOST


async def test_one_that_could_not_be_used_may_come_again(track: Track) -> None:
    track.add(1)
    track.popped()
    track.lane.passed(track.piece(2))
    assert track.lane.next == 3
    assert track.late(2) == 2000


async def test_turns_come_in_the_order_in_which_work_began() -> None:
    turns, done = Turns(), []

    async def work(number: int, wait_s: float, *, fails: bool = False) -> None:
        async with turns.turn() as turn:
            await asyncio.sleep(wait_s)
            if fails:
                raise ValueError
            await turn
        done.append(number)
        await asyncio.sleep(0)

    works = [work(0, 0.05), work(1, 0.01, fails=True), work(2, 0), work(3, 0.02), work(4, 0)]
    found = await asyncio.gather(*works, return_exceptions=True)
    assert done == [0, 2, 3, 4]
    assert isinstance(found[1], ValueError)
    await asyncio.gather(work(5, 0.01), work(6, 0))
    assert done[-2:] == [5, 6]
