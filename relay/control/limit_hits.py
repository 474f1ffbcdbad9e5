"""Limit hits: how often each limit was met, from the counters of whoever meets it."""

from collections import Counter
from collections.abc import Iterable, Mapping

from relay.archive.archive import Archive
from relay.egress.manager import EgressManager
from relay.ingest.admission import UNKNOWN, Admission
from relay.ingest.pulls import Pulls

# Names of limits by the outcomes of attempts that met them.
_DESTINATION = {"timeout": "destination_answer", "stalled": "destination_stall", "limit": "destination_excess"}
_SOURCE = {"timeout": "source_answer", "too_large": "source_size", "redirect": "hls_redirects", "silent": "media_idle"}
_SOURCE |= {"limit": "source_excess"}


# What one more channel, and one more destination of it, may add to the metrics.
CHANNEL_SERIES, DESTINATION_SERIES, OTHER_SERIES = 60, 24, 400


def within_series(channels: Iterable[str], egress: EgressManager, most: int, hits: Counter[str]) -> list[str]:
    """The ``channels`` whose metrics fit into so many series; those behind them are left out, and that is counted."""
    found: list[str] = []
    left = most - OTHER_SERIES
    for name in channels:
        left -= CHANNEL_SERIES + DESTINATION_SERIES * len(egress.status(name))
        if left < 0:
            hits["metric_series"] += 1
            break
        found.append(name)
    return found


def limit_hits(
    strangers: Mapping[str, int],
    admission: Admission,
    egress: EgressManager,
    pulls: Pulls,
    archive: Archive | None,
    channels: Iterable[str],
) -> Counter[str]:
    """By the limit's short name. ``strangers``: what the doors counted."""
    found: Counter[str] = Counter(strangers)
    found["auth_failures"] += admission.outcomes[UNKNOWN, "throttled"]
    if archive is not None:
        found["spool_reserve"] += archive.stats.refused + archive.stats.paused
    for name in channels:
        for destination in egress.status(name):
            found["backlog"] += sum(destination.dropped_packets.values())
            for outcome, limit in _DESTINATION.items():
                found[limit] += destination.outcomes.get(outcome, 0)
        source = pulls.status(name)
        if source is not None:
            for outcome, limit in _SOURCE.items():
                found[limit] += source.outcomes.get(outcome, 0)
    return found
