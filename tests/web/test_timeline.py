"""The bar of a recording: gaps where they are, each wide enough to see, and a few times along it."""

import pytest

from relay.control.models import GapView, RecordingView
from relay.web.timeline import LEAST, WIDTH, timeline


def recording(duration_s: float, gap_s: float = 0.0) -> RecordingView:
    return RecordingView(
        id="r", channel="talk", state="complete", started_at="", ended_at=None, duration_s=duration_s, gap_s=gap_s,
        bytes=0, segments=1, segments_stored=1,
    )  # fmt: skip


def gap(start_s: float, length_s: float) -> GapView:
    return GapView(start_s=start_s, started_at="", length_s=length_s, reason="link lost")


def test_gaps_are_drawn_to_scale() -> None:
    bar = timeline(recording(75, 25), [gap(50, 25)])
    assert bar.total_s == 100
    ((x, width, start_s, length_s, reason),) = bar.gaps
    assert (x, width) == (WIDTH / 2, WIDTH / 4)
    assert (start_s, length_s, reason) == (50, 25, "link lost")


def test_a_short_gap_in_a_long_recording_can_be_seen_also_at_its_end() -> None:
    bar = timeline(recording(86_399.8, 0.2), [gap(86_399.8, 0.2)])
    assert bar.gaps[0].width == LEAST
    assert bar.gaps[0].x + bar.gaps[0].width <= WIDTH


@pytest.mark.parametrize("duration_s", [0, 4, 42, 600, 5400, 86_400, 900_000])
def test_there_are_a_few_times_along_it(duration_s: float) -> None:
    ticks = timeline(recording(duration_s), []).ticks
    assert 1 <= len(ticks) <= 12
    assert ticks[0].x == 0
    assert all(tick.x <= WIDTH for tick in ticks)
