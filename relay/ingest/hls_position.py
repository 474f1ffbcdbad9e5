"""Position: what of a source's playlist is to be fetched, look by look, across attempts, restarts and hours away."""

from typing import NamedTuple

from relay.protocol.m3u8 import MediaPlaylist, Segment
from relay.protocol.m3u8_lines import ByteRange

BEHIND_TARGETS = 3  # RFC 8216 §6.3.3: no nearer to the end of a live playlist
_REMEMBERED = 64
_FAR = 5  # segments: no cache lags that far behind another
_STALE_TARGETS = 2
PARTS_MOST = 127  # of one segment that are taken
_NOTHING = (-1, 0)

Face = tuple[str, float, ByteRange | None, str]


class Unit(NamedTuple):
    """What is fetched at once: a whole segment, or its ``part``, by index. ``is_last``: the segment ends with it."""

    segment: Segment
    part: int | None = None
    is_last: bool = True


class Look(NamedTuple):
    """What one look at the playlist brings. ``missed``: how many segments went before they were seen.

    ``has_restarted``: the source counts its segments anew, and these are the first ones.
    """

    units: tuple[Unit, ...]
    missed: int = 0
    has_restarted: bool = False


class Position:
    """The number of the next segment. ``begin`` at each attempt, then ``look`` at each playlist; times in seconds.

    What was looked at and never ``settled`` is looked at again by the next attempt. With ``in_parts`` the segment that
    is coming is taken in its parts, and goes on so when it is whole: what is not listed of them any more is missing.
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._unsettled: int | None = None  # the number of the first one
        self._begun = self._begun_settled = _NOTHING  # a segment taken in parts: its number, and how many of them
        self._is_beginning = True
        self._seen: dict[int, Face] = {}
        self._stale: tuple[float, int] | None = None  # since when, and the playlist's end then

    def begin(self) -> None:
        """What was missed since the last look is time that has passed: go on near the end."""
        self._is_beginning = True
        if self._next is not None and self._unsettled is not None:
            self._next = min(self._next, self._unsettled)
            self._begun = self._begun_settled

    def resume(self, number: int, part: int | None = None) -> None:
        """An earlier run of the relay has segments up to ``number``, or its ``part``, that perhaps not to its end."""
        if self._next is None:
            self._next = self._unsettled = number
            if part is not None:
                self._begun = self._begun_settled = (number, part)

    @property
    def is_known(self) -> bool:
        """Whether there is a place to go on from."""
        return self._next is not None

    def settled(self, unit: Unit) -> None:
        """``unit``, and all before it, are handed on, or lost for good."""
        number = unit.segment.sequence
        if unit.part is None or unit.is_last:
            self._unsettled, self._begun_settled = number + 1, _NOTHING
        else:
            self._unsettled, self._begun_settled = number, (number, unit.part + 1)

    def look(self, playlist: MediaPlaylist, now: float, *, in_parts: bool = False) -> Look:
        """What is new in ``playlist``."""
        is_first, self._is_beginning = self._is_beginning, False
        if self._next is None:
            if playlist.is_ended and playlist.kind != "VOD":
                return self._take(
                    playlist, playlist.next_sequence, in_parts
                )  # over before we came: if it goes on, we do
            return self._take(playlist, _start(playlist, in_parts), in_parts)
        if playlist.next_sequence < self._next:
            if not self._has_restarted(playlist, self._next, now):
                return Look(())
            self._seen.clear()
            self._unsettled = None
            self._begun = self._begun_settled = _NOTHING
            return self._take(playlist, _start(playlist, in_parts), in_parts)._replace(has_restarted=True)
        self._stale = None
        start = max(self._next, playlist.sequence)
        if is_first and playlist.kind != "VOD":
            start = max(start, _start(playlist, in_parts))
        missed = 0 if is_first else start - self._next
        return self._take(playlist, start, in_parts)._replace(missed=missed)

    def _take(self, playlist: MediaPlaylist, start: int, in_parts: bool) -> Look:
        units: list[Unit] = []
        for segment in playlist.segments[start - playlist.sequence :]:
            self._seen[segment.sequence] = _face(segment)
            units += self._of(segment, is_whole=True)
        coming = playlist.coming
        if in_parts and coming is not None and coming.init is not None and coming.key is None:
            units += self._of(coming, is_whole=False)
        for number in sorted(self._seen)[:-_REMEMBERED]:
            del self._seen[number]
        if self._unsettled is None or self._unsettled == self._next:
            self._unsettled = start
        self._next = playlist.next_sequence
        self._stale = None
        return Look(tuple(units))

    def _of(self, segment: Segment, *, is_whole: bool) -> list[Unit]:
        """What is not taken of it yet."""
        number, count = self._begun
        if number != segment.sequence:
            if is_whole:
                return [Unit(segment)]
            count = 0
        parts = min(len(segment.parts), PARTS_MOST)
        self._begun = _NOTHING if is_whole else (segment.sequence, max(count, parts))
        return [Unit(segment, at, is_whole and at == parts - 1) for at in range(count, parts)]

    def _has_restarted(self, playlist: MediaPlaylist, expected: int, now: float) -> bool:
        """Whether a playlist that ends before ``expected`` is a new count, and not an old copy of the one we know."""
        if any(_face(item) != self._seen.get(item.sequence, _face(item)) for item in playlist.segments):
            return True
        if self._stale is None:
            self._stale = (now, playlist.next_sequence)
        since, end = self._stale
        behind = expected - playlist.next_sequence
        targets = _STALE_TARGETS + (behind if behind <= _FAR else 0)
        return playlist.next_sequence > end and now - since >= targets * playlist.target_s


def _face(segment: Segment) -> Face:
    """What tells a segment from another one of the same number; a query changes with every token."""
    return segment.uri.partition("?")[0], round(segment.duration_s, 3), segment.byte_range, segment.date


def _start(playlist: MediaPlaylist, in_parts: bool) -> int:
    """The number of the segment to begin with: a VOD's first; else far enough from the end for its kind."""
    if playlist.kind == "VOD":
        return playlist.sequence
    least_s, left_s = BEHIND_TARGETS * playlist.target_s, 0.0
    coming = playlist.coming
    if in_parts and coming is not None:
        least_s, left_s = playlist.hold_back_s, coming.duration_s
        if left_s >= least_s and coming.parts[0].is_independent:
            return coming.sequence
    for segment in reversed(playlist.segments):
        left_s += segment.duration_s
        if left_s >= least_s:
            return segment.sequence
    return playlist.sequence
