"""Durations fall into their buckets, a bound belonging to its own."""

from relay.archive.stats import Durations


def test_each_duration_is_counted_once() -> None:
    durations = Durations((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.2, 1.0, 7.5):
        durations.add(seconds)
    assert durations.counts == [2, 2, 1]
    assert durations.sum_s == 8.8
