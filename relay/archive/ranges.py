"""Ranges: which piece of a recording is meant, as people write it, on the recording's own timeline."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from relay.database import SegmentRow
from relay.errors import InvalidError

SLACK_MS = 1000  # lists show times without their fractions: whoever copies one from there may be off by as much
_UNIX = 1e8  # numbers from here on are no offsets: they count from 1970
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,9})?")
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):([0-5]?\d(?:\.\d{1,9})?)")
FORMS = "write seconds (90.5), HH:MM:SS, or a date and time (2026-05-01T18:30:00Z; UTC where it names no zone)"


def read_range(segments: Sequence[SegmentRow], start: str, end: str) -> tuple[int, int]:
    """(from, to) in ms of media time of a recording with ``segments``, at least one; an empty text is its start or end.

    Raises InvalidError, which names the recording's range, for what cannot be read, lies outside or is no range.
    """
    last_ms = max(map(end_of, segments))
    extent = (
        f"it runs from 0 to {offset(last_ms)}, from {iso(_clock_at(segments, 0))} to "
        f"{iso(_clock_at(segments, last_ms))}"
    )
    start_ms = _place(segments, "from", start) if start else 0
    end_ms = _place(segments, "to", end) if end else last_ms
    for name, text, at_ms in (("from", start, start_ms), ("to", end, end_ms)):
        if not -SLACK_MS <= at_ms <= last_ms + SLACK_MS:
            raise InvalidError(f"{name}={text} is outside the recording: {extent}")
    start_ms, end_ms = max(0, start_ms), min(last_ms, end_ms)
    if start_ms >= end_ms:
        raise InvalidError(f"from={start or 0} is not before to={end or offset(last_ms)} in the recording: {extent}")
    return start_ms, end_ms


def end_of(segment: SegmentRow) -> int:
    """Where a segment ends, in ms of media time."""
    return segment.start_ms + round(segment.duration_s * 1000)


def _place(segments: Sequence[SegmentRow], name: str, text: str) -> int:
    """The ms of media time ``text`` stands for. Raises InvalidError."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        return round(number * 1000) if number < _UNIX else _media_at(segments, number)
    parts = _CLOCK.fullmatch(text)
    if parts:
        return round((int(parts[1] or 0) * 3600 + int(parts[2]) * 60 + float(parts[3])) * 1000)
    try:
        # An unescaped plus sign has become a space on its way through a URL.
        time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return _media_at(segments, (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise InvalidError(f"{name}={text[:60]} is no time; {FORMS}") from None


def _media_at(segments: Sequence[SegmentRow], at: float) -> int:
    """The media time of a wall clock time, by the last segment that began before it."""
    near = segments[0]
    for segment in segments:
        if segment.started_at <= at:
            near = segment
    return near.start_ms + round((at - near.started_at) * 1000)


def _clock_at(segments: Sequence[SegmentRow], at_ms: int) -> float:
    """The wall clock time of a media time, by the last segment that began before it."""
    near = segments[0]
    for segment in segments:
        if segment.start_ms <= at_ms:
            near = segment
    return near.started_at + (at_ms - near.start_ms) / 1000


def offset(ms: int) -> str:
    """Media time as H:MM:SS.mmm."""
    seconds, rest = divmod(ms, 1000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"


def iso(seconds: float) -> str:
    """Unix seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
