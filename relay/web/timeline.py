"""Timeline: a recording drawn as a bar: what there is, and what is missing, however short."""

from collections.abc import Sequence
from typing import NamedTuple

from relay.control import models

WIDTH = 1000.0  # of the drawing, in its own units
LEAST = 2.0  # a gap of any length can be seen


class Mark(NamedTuple):
    """A piece of the bar: where it begins and how wide it is, of WIDTH; what is to be said of it."""

    x: float
    width: float
    start_s: float
    length_s: float
    reason: str


class Bar(NamedTuple):
    """``total_s``: media and gaps together."""

    total_s: float
    gaps: list[Mark]
    ticks: list[Mark]


def timeline(recording: models.RecordingView, gaps: Sequence[models.GapView]) -> Bar:
    """The bar of ``recording``: its gaps in order, and about six times of day or offsets along it."""
    last_s = max((gap.start_s + gap.length_s for gap in gaps), default=0.0)
    total_s = max(recording.duration_s + recording.gap_s, last_s, 0.001)

    def mark(start_s: float, length_s: float, reason: str) -> Mark:
        width = min(WIDTH, max(LEAST, length_s / total_s * WIDTH)) if length_s else 0.0
        x = min(start_s / total_s * WIDTH, WIDTH - width)
        return Mark(round(max(0.0, x), 1), round(width, 1), start_s, length_s, reason)

    step = next((step for step in _STEPS if total_s / step <= 6), 86_400)
    ticks = [mark(index * step, 0.0, "") for index in range(int(total_s / step) + 1)]
    return Bar(total_s, [mark(gap.start_s, gap.length_s, gap.reason) for gap in gaps], ticks)


_STEPS = (5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 28_800, 43_200)
