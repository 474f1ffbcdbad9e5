"""SegmentClock: contiguous media stays contiguous through wraps and jumps; holes stay as long as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.demux import Demuxed
from relay.ingest.segment_clock import End, FixedClock, SegmentClock

WRAP = 1 << 33


def ts(base_ms: float, length_ms: int = 2000) -> Demuxed:
    return Demuxed(round(base_ms * 90) % WRAP, 90_000, WRAP, length_ms, [])


def mp4(base_ms: int, length_ms: int = 2000) -> Demuxed:
    return Demuxed(base_ms, 1000, 0, length_ms, [])


@given(st.integers(0, WRAP // 90), st.lists(st.integers(500, 12_000), min_size=1, max_size=40))
def test_contiguous_segments_land_contiguously_wherever_the_clock_wraps(start_ms: int, lengths: list[int]) -> None:
    clock, end, at_ms = SegmentClock(), End(), 0
    for length_ms in lengths:
        placed = clock.begin(ts(start_ms + at_ms, length_ms), end, origin_ms=0)
        assert abs(placed - at_ms) <= 1
        at_ms += length_ms


def test_days_of_it() -> None:
    clock, end = SegmentClock(), End()
    for number in range(60 * 60 * 24 * 5 // 6):
        placed = clock.begin(ts(6000 * number, 6000), end, origin_ms=0)
        assert abs(placed - 6000 * number) <= 1


@pytest.mark.parametrize("jump_ms", [-3_600_000, -2500, 3_600_000, 2_000_000_000, 5000])
@pytest.mark.parametrize("said", [True, False])
def test_jumps_go_on_where_it_was(jump_ms: int, said: bool) -> None:
    clock, end = SegmentClock(), End()
    clock.begin(mp4(3_700_000), end, origin_ms=100)
    assert clock.begin(mp4(3_702_000 + jump_ms), end, origin_ms=0, is_discontinuity=said) == 2100
    assert clock.begin(mp4(3_704_000 + jump_ms), end, origin_ms=0) == 4100


def test_holes_that_numbers_or_real_time_explain_stay() -> None:
    clock, end = SegmentClock(), End()
    clock.begin(mp4(0), end, origin_ms=0)
    assert clock.begin(mp4(6000), end, origin_ms=0, missing=2) == 6000
    assert clock.begin(mp4(18_000), end, origin_ms=0, waited_ms=12_000) == 18_000, "it arrived that much later"
    assert clock.begin(mp4(900_000), end, origin_ms=0, missing=3) == 26_000, "a jump, and three are missing"
    assert clock.begin(mp4(902_000), end, origin_ms=0, is_discontinuity=True) == 28_000, "said, but there is none"


def test_two_tracks_jump_once() -> None:
    clock, video, audio = SegmentClock(), End(), End()
    clock.begin(mp4(0), video, origin_ms=0)
    clock.begin(mp4(10, 1990), audio, origin_ms=0)
    assert clock.begin(mp4(90_000), video, origin_ms=0, is_discontinuity=True) == 2000
    assert clock.begin(mp4(90_003), audio, origin_ms=0, is_discontinuity=True) == 2003


def test_each_tracks_dts_grows_whatever_is_sent() -> None:
    clock, end = SegmentClock(), End()
    clock.begin(mp4(0), end, origin_ms=50)
    assert [clock.place(at, True) for at in (0, 33, 33, 10)] == [50, 83, 84, 85]
    assert clock.place(5, False) == 55
    clock.begin(mp4(1900), end, origin_ms=0)
    assert clock.place(0, True) == 1950


def test_gaps_and_places() -> None:
    clock, end = SegmentClock(), End()
    assert clock.gap_ms(mp4(7), end) is None
    clock.begin(mp4(1000), end, origin_ms=0)
    assert clock.gap_ms(mp4(5000), end) == 2000
    assert FixedClock(40).place(2, True) == 42
