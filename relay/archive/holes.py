"""Holes: what a segment that came late leaves of the gaps it was missing in."""

from collections.abc import Iterable

from relay.archive.recording import GAP_OVER_MS, Recording, media_end_ms
from relay.database import GapRow, SegmentRow


def filled(gaps: Iterable[GapRow], segment: SegmentRow) -> tuple[list[GapRow], list[GapRow]]:
    """(gaps that are no longer so, what is left of them) now that ``segment`` is there."""
    start_ms, end_ms = segment.start_ms, media_end_ms(segment)
    gone, left = [], []
    for gap in gaps:
        gap_end_ms = gap.start_ms + gap.length_ms
        if gap.start_ms >= end_ms or gap_end_ms <= start_ms:
            continue
        gone.append(gap)
        for begin, end in ((gap.start_ms, start_ms), (end_ms, gap_end_ms)):
            if end - begin > GAP_OVER_MS:
                left.append(GapRow(start_ms=begin, length_ms=end - begin, reason=gap.reason))
    return gone, left


def breaks(before: SegmentRow, after: SegmentRow) -> bool:
    """Whether players must be told that ``after`` does not simply follow ``before``."""
    return after.init_key != before.init_key or after.start_ms - media_end_ms(before) > GAP_OVER_MS


def following(recording: Recording, segment: SegmentRow) -> SegmentRow | None:
    """The segment after ``segment``, where that is not the last."""
    if not recording.segments or recording.segments[-1].seq <= segment.seq:
        return None
    return next(other for other in recording.segments if other.seq > segment.seq)
