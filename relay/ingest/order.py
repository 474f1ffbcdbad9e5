"""Order: segments of one track put in order by number, and what is remembered of those that did not come."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple

from relay.config import LimitSettings
from relay.errors import RefusedError
from relay.ingest.demux import Demuxed
from relay.ingest.segment import Key, Segment
from relay.ingest.segment_clock import NEAR_MS, End, SegmentClock
from relay.protocol import flv

HOLES_MOST = 512  # numbers remembered; names that leap further than this do not count segments
CONTIGUOUS_MS = 100  # media this close to the end of the track follows it, whatever the numbers say
LEAST_WAIT_S = 1.0
LOOK_AGAIN_S = 0.25


class Ending(NamedTuple):
    """A goodbye at loop time ``since``, behind segment ``number`` of ``track``."""

    since: float
    track: str
    number: int


class Turns:
    """Work that may be done at once, but whose results count in the order in which it was begun."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator["asyncio.Future[None]"]:
        """What to await for the turn; it ends with the block, also where that fails before it has come.

        Whoever is next goes on no sooner than this one's task pauses.
        """
        own: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        before, self._last = self._last, own
        if before is None:
            before = asyncio.get_running_loop().create_future()
            before.set_result(None)
        try:
            yield asyncio.shield(before)
        finally:
            before.add_done_callback(lambda _: own.set_result(None))


class Piece:
    """A segment that was read: ``done`` is told when it is durable, or why it never will be."""

    __slots__ = ("arrived_at", "done", "key", "kinds", "number", "read", "segment")

    def __init__(self, segment: Segment, key: Key, read: Demuxed, done: "asyncio.Future[None]") -> None:
        self.segment = segment
        self.key = key
        self.read = read
        self.done = done
        self.number = segment.number
        self.kinds = {tag.type_id for tag in read.tags if tag.type_id in (flv.VIDEO, flv.AUDIO)}
        self.arrived_at = 0.0

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _Hole(NamedTuple):
    """Where a number that was passed would be: DTS in ms, and the clock's offsets before and behind it."""

    from_ms: int | None
    to_ms: int
    offsets: tuple[int | None, int | None]


class Lane:
    """The segments of one track. ``next``: the number that is due; None before the first. ``kinds``: what is in them.

    A segment that comes before one with a lower number waits for it: until some wait (LimitSettings), or as long as a
    segment lasts, so that an encoder that sends one after the other is held up no longer than that; and while other
    uploads are under way, one of which may be it, for the whole window. The very first one waits, as briefly, for
    others that are under way.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self.next: int | None = None
        self.end = End()
        self.kinds: set[int] = set()
        self._limits = limits
        self._waiting: dict[int, Piece] = {}
        self._gone: set[int] = set()
        self._holes: OrderedDict[int, _Hole] = OrderedDict()
        self._first: tuple[int, int, float] | None = None  # number, DTS and loop time of the first one written
        self._timer: asyncio.TimerHandle | None = None
        self._is_hurried = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, piece: Piece, now: float) -> None:
        """Let a segment, whose number is not passed yet, take its place. ``now`` in loop seconds."""
        piece.arrived_at = now
        before = self._waiting.pop(piece.number, None)
        if before is not None:
            before.fail(RefusedError("replaced", "another segment with the same number came after this one"))
        self._waiting[piece.number] = piece

    def skip(self, numbers: Iterable[int]) -> None:
        """These will not come: nobody waits for them."""
        due = self.next or 0
        self._gone |= {number for number in numbers if due <= number < due + HOLES_MOST}

    def pop(self, now: float, others: int, gap_ms: Callable[[Piece], int | None]) -> tuple[Piece, int] | None:
        """The segment that is due, and how many before it are missing; None while those are waited for.

        ``others``: how many uploads are under way that may be it. ``gap_ms``: from the track's end to a segment.
        """
        if not self._waiting:
            return None
        number = min(self._waiting)
        if self.next is None:
            if others > 0 and not self._is_over_due(now, 0):
                return None  # one of them may be the first
            self.next = number
        piece = self._waiting[number]
        passed = number - self.next
        if passed > 0:
            missing = self._missing(passed, gap_ms(piece), piece.read.length_ms)
            is_waited_for = missing and not all(absent in self._gone for absent in range(self.next, number))
            if is_waited_for and not self._is_over_due(now, others):
                return None
        else:
            missing = 0
        del self._waiting[number]
        return piece, missing

    def _missing(self, passed: int, gap_ms: int | None, length_ms: int) -> int:
        """How many segments are missing where ``passed`` numbers are."""
        if passed > HOLES_MOST:
            return 0
        if gap_ms is None:
            return passed
        if abs(gap_ms) <= min(CONTIGUOUS_MS, length_ms // 4):
            return 0  # names that do not count one by one
        length_ms = max(self.end.length_ms, 1)
        if 0 < gap_ms < passed * length_ms // 4:
            return max(1, round(gap_ms / length_ms))
        return passed

    def _is_over_due(self, now: float, others: int) -> bool:
        return self._is_hurried or len(self._waiting) >= self._limits.hls_window_segments or now >= self._until(others)

    def _until(self, others: int) -> float:
        longest_s = self._limits.hls_window_s
        wait_s = longest_s if others > 0 else min(longest_s, max(LEAST_WAIT_S, self.end.longest_ms / 1000))
        return min(piece.arrived_at for piece in self._waiting.values()) + wait_s

    def look_again(self, now: float, others: int, look: Callable[[], None]) -> None:
        """Have ``look`` called when the wait may be over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            wait_s = max(0.0, self._until(others) - now)
            # While others are under way they may end at any time, and the wait with them.
            wait_s = min(wait_s, LOOK_AGAIN_S) if others > 0 else wait_s
            self._timer = asyncio.get_running_loop().call_later(wait_s, look)

    def written(
        self, piece: Piece, start_ms: int, ended_ms: int | None, offsets: tuple[int | None, int | None]
    ) -> None:
        """A segment went to the stream at DTS ``start_ms``, behind the track's end ``ended_ms``.

        ``offsets``: the clock's, before and after.
        """
        number = piece.number
        if self.next is not None:
            for passed in range(max(self.next, number - HOLES_MOST), number):
                self._holes[passed] = _Hole(ended_ms, start_ms, offsets)
        while len(self._holes) > HOLES_MOST:
            self._holes.popitem(last=False)
        if self._first is None:
            self._first = number, start_ms, piece.arrived_at
        self.next = max(self.next or 0, number + 1)
        self.kinds |= piece.kinds
        self._gone = {gone for gone in self._gone if gone > number}

    def passed(self, piece: Piece) -> None:
        """A segment that was due could not be used: another one with its number still may."""
        self._holes[piece.number] = _Hole(self.end.at_ms, self.end.at_ms or 0, (None, None))
        self.next = max(self.next or 0, piece.number + 1)

    def place_of_late(self, piece: Piece, clock: SegmentClock, now: float) -> int | None:
        """The DTS in ms where a segment belongs whose number is passed; None where it is none of this run's."""
        media_ms = clock.media_ms(piece.read)
        hole = self._holes.get(piece.number)
        if hole is not None:
            places = [media_ms + offset for offset in reversed(hole.offsets) if offset is not None]
            for place in places:
                if (hole.from_ms is None or place >= hole.from_ms - NEAR_MS) and place < hole.to_ms:
                    return place
            if places:
                return places[0]
            return media_ms + (clock.offset_ms or 0)
        if self._first is None or clock.offset_ms is None:
            return None
        number, start_ms, at = self._first
        before = number - piece.number
        reach_ms = before * max(self.end.longest_ms, piece.read.length_ms) * 3 // 2 + NEAR_MS
        place = media_ms + clock.offset_ms
        is_near = 0 < before <= self._limits.hls_window_segments and now - at < 2 * self._limits.hls_window_s
        return place if is_near and start_ms - reach_ms <= place < start_ms else None

    def filled(self, number: int) -> None:
        """The segment with this number has come after all."""
        self._holes.pop(number, None)

    def hurry(self) -> None:
        """Wait no more."""
        self._is_hurried = True

    def drop(self) -> list[Piece]:
        """Give up what waits."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return waiting
