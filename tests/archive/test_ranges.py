"""Ranges as people write them: offsets, clock times, time zones, and what is no range of this recording."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.archive.ranges import end_of, iso, offset, read_range
from relay.database import SegmentRow
from relay.errors import InvalidError

BEGAN = 1777660200.25  # 2026-05-01T18:30:00.250Z


def segment(seq: int, start_ms: int, started_at: float, duration_s: float = 6.0) -> SegmentRow:
    return SegmentRow(
        seq=seq, object_key=f"talk/r/{seq:06d}.m4s", init_key="talk/r/init-1.mp4", started_at=started_at,
        start_ms=start_ms, duration_s=duration_s, bytes=1, sha256="",
    )  # fmt: skip


# 12 s, a gap of 60 s, 12 s: the clock of the second run is 2 s ahead of the first's
ROWS = [
    segment(0, 0, BEGAN),
    segment(1, 6000, BEGAN + 6),
    segment(2, 72_000, BEGAN + 74),
    segment(3, 78_000, BEGAN + 80),
]

READ = [  # from, to, range in ms
    ("", "", (0, 84_000)),
    ("0", "84", (0, 84_000)),
    ("1.5", "2.25", (1500, 2250)),
    ("0:01", "1:20", (1000, 80_000)),
    ("00:00:01.5", "0:01:20", (1500, 80_000)),
    ("2026-05-01T18:30:01.25Z", "", (1000, 84_000)),
    ("2026-05-01T20:30:01.250+02:00", "2026-05-01 18:30:05.25", (1000, 5000)),
    ("2026-05-01T20:30:01.250 02:00", "", (1000, 84_000)),  # a plus sign nobody escaped
    ("1777660201.25", "1777660275.25", (1000, 73_000)),  # unix seconds; the later run by its own clock
    ("20", "30", (20_000, 30_000)),  # both in the gap
    ("2026-05-01T18:30:00Z", "84.9", (0, 84_000)),  # lists leave out fractions
    (" 3 ", "\t4", (3000, 4000)),
]


@pytest.mark.parametrize(("start", "end", "expected"), READ)
def test_a_range_is_read(start: str, end: str, expected: tuple[int, int]) -> None:
    assert read_range(ROWS, start, end) == expected


OUTSIDE = [
    ("85.1", "", "from=85.1 is outside the recording"),
    ("", "90", "to=90 is outside"),
    ("2026-05-01T18:29:58Z", "", "is outside"),
    ("2026-05-01T19:30:00Z", "", "is outside"),
    ("20260501", "", "is outside"),
    ("5", "5", "from=5 is not before to=5"),
    ("6", "5", "from=6 is not before to=5"),
    ("84", "", "from=84 is not before to=0:01:24.000"),
    ("", "0", "from=0 is not before to=0"),
]


@pytest.mark.parametrize(("start", "end", "words"), OUTSIDE)
def test_a_range_that_is_none_is_told_the_recordings(start: str, end: str, words: str) -> None:
    with pytest.raises(InvalidError) as refused:
        read_range(ROWS, start, end)
    assert words in str(refused.value)
    assert "it runs from 0 to 0:01:24.000, from 2026-05-01T18:30:00.250Z to 2026-05-01T18:31:26.250Z" in str(
        refused.value
    )


@pytest.mark.parametrize("text", ["x", "-5", "1e3", "nan", "inf", "1:2:3:4", "12:99", "99999-01-01", "T", "2026-13-01"])
def test_what_is_no_time_is_told_the_forms(text: str) -> None:
    with pytest.raises(InvalidError, match=r"is no time; write seconds \(90\.5\), HH:MM:SS"):
        read_range(ROWS, text, "")


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_a_range_or_an_error_of_ours(start: str, end: str) -> None:
    try:
        first, last = read_range(ROWS, start, end)
    except InvalidError:
        return
    assert 0 <= first < last <= 84_000


@given(st.integers(0, 83_999))
def test_an_offset_written_is_read_again(at_ms: int) -> None:
    assert read_range(ROWS, offset(at_ms), "") == (at_ms, 84_000)


def test_times_are_written_for_people() -> None:
    assert offset(3_723_004) == "1:02:03.004"
    assert iso(BEGAN) == "2026-05-01T18:30:00.250Z"
    assert end_of(ROWS[0]) == 6000
