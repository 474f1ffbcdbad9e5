"""What a late segment leaves of gaps: nothing, one end, the other, or both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.archive.holes import breaks, filled
from relay.archive.verify import covered
from relay.database import GapRow, SegmentRow


def segment(start_ms: int, end_ms: int, init: str = "init-1.mp4") -> SegmentRow:
    return SegmentRow(
        seq=5,
        object_key="talk/r1/000005.m4s",
        init_key=init,
        started_at=1000.0,
        start_ms=start_ms,
        duration_s=(end_ms - start_ms) / 1000,
        bytes=1,
        sha256="",
    )


def gap(start_ms: int, end_ms: int) -> GapRow:
    return GapRow(start_ms=start_ms, length_ms=end_ms - start_ms, reason="segments missing")


@pytest.mark.parametrize(
    ("media", "left"),
    [
        ((2000, 8000), []),
        ((2000, 7950), []),
        ((1950, 8040), []),
        ((2000, 4000), [gap(4000, 8000)]),
        ((6000, 8000), [gap(2000, 6000)]),
        ((4000, 6000), [gap(2000, 4000), gap(6000, 8000)]),
        ((2100, 7899), [gap(7899, 8000)]),
    ],
)
def test_what_is_left(media: tuple[int, int], left: list[GapRow]) -> None:
    other, before = gap(20_000, 30_000), gap(0, 2000)
    if media[0] >= 2000:
        assert filled([other, gap(2000, 8000), before], segment(*media)) == ([gap(2000, 8000)], left)
    else:
        assert filled([gap(2000, 8000), other], segment(*media)) == ([gap(2000, 8000)], left)


@given(st.integers(0, 20_000), st.integers(200, 9000), st.integers(0, 20_000), st.integers(1, 9000))
def test_media_and_what_is_left_are_what_was_missing(at: int, length: int, start: int, media: int) -> None:
    gone, left = filled([gap(at, at + length)], segment(start, start + media))
    spans = sorted((item.start_ms, item.start_ms + item.length_ms) for item in left)
    assert covered(spans, start, start + media) == 0
    if not gone:
        assert left == []
        return
    shared = covered([(start, start + media)], at, at + length)
    assert shared > 0
    assert 0 <= length - shared - sum(item.length_ms for item in left) <= 200


def test_a_hole_or_another_init_segment_breaks() -> None:
    assert not breaks(segment(0, 2000), segment(2100, 3000))
    assert breaks(segment(0, 2000), segment(2101, 3000))
    assert breaks(segment(0, 2000), segment(2000, 3000, "init-2.mp4"))
