"""Stats: the archive's plain counters, read by metrics at scrape."""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field

DELAY_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class Durations:
    """How long something took, counted by upper bounds in seconds."""

    __slots__ = ("bounds", "counts", "sum_s")

    def __init__(self, bounds: tuple[float, ...] = DELAY_BOUNDS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class ArchiveStats:
    """Counters of the whole archive. ``delay``: from a segment's close to its verified copy in the store."""

    segments: Counter[str] = field(default_factory=Counter)
    stored_bytes: int = 0
    store_errors: Counter[str] = field(default_factory=Counter)
    catalog_errors: int = 0
    gaps: Counter[str] = field(default_factory=Counter)  # by reason
    gap_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # seconds, by reason
    delay: Durations = field(default_factory=Durations)
    paused: int = 0  # times a recording was paused for want of space
    refused: int = 0  # recordings not begun for want of space
    lost_in_store: int = 0  # objects the store had, and had no more
