"""SegmentClock: the media times of an HLS publisher's segments on the stream's own timeline."""

from relay.ingest.demux import Demuxed
from relay.media import Packet

NEAR_MS = 500  # steps between segments up to this are taken as they are
_AHEAD_MS = 1000  # how much further media may go than real time has


class End:
    """Where a track's last segment ended, in stream DTS, and how long its segments are. All in ms."""

    __slots__ = ("at_ms", "length_ms", "longest_ms")

    def __init__(self) -> None:
        self.at_ms: int | None = None
        self.length_ms = self.longest_ms = 0

    def moved(self, start_ms: int, length_ms: int) -> None:
        """A segment follows that begins at ``start_ms``."""
        self.at_ms = start_ms + length_ms
        self.length_ms = length_ms
        self.longest_ms = max(self.longest_ms, length_ms)


class SegmentClock:
    """One for each time the publisher takes the channel. DTS = media time + ``offset_ms``, one offset for all tracks.

    A flv.Clock for the segment that ``begin`` was called for last: places its FLV timestamps.
    """

    __slots__ = ("_last", "_last_ticks", "_start_ms", "offset_ms")

    def __init__(self) -> None:
        self.offset_ms: int | None = None
        self._start_ms = 0
        self._last: dict[bool, int] = {}  # DTS by track
        self._last_ticks: int | None = None

    def media_ms(self, read: Demuxed) -> int:
        """The media time of a segment's start, unwrapped to be nearest to the last one that began."""
        ticks = read.base
        if read.wrap and self._last_ticks is not None:
            half = read.wrap // 2
            ticks = self._last_ticks + (ticks - self._last_ticks + half) % read.wrap - half
        return round(ticks * 1000 / read.rate)

    def gap_ms(self, read: Demuxed, end: End) -> int | None:
        """The media time between the end of the track and this segment, as its clock says; None: there is none yet."""
        if self.offset_ms is None or end.at_ms is None:
            return None
        return self.media_ms(read) + self.offset_ms - end.at_ms

    def begin(
        self,
        read: Demuxed,
        end: End,
        *,
        origin_ms: int,
        is_discontinuity: bool = False,
        missing: int = 0,
        waited_ms: int = 0,
    ) -> int:
        """Place a segment behind its track's ``end``; the DTS of its start.

        ``origin_ms``: where the first one goes. ``missing``: how many did not come before it. ``waited_ms``: how long
        ago the one before it arrived. A clock that has jumped goes on where it was.
        """
        media_ms = self.media_ms(read)
        if read.wrap:
            half = read.wrap // 2
            last = read.base if self._last_ticks is None else self._last_ticks
            self._last_ticks = last + (read.base - last + half) % read.wrap - half
        if self.offset_ms is None:
            self.offset_ms = origin_ms - media_ms
        elif end.at_ms is not None:
            gap_ms = media_ms + self.offset_ms - end.at_ms
            if not self._is_natural(gap_ms, end, read.length_ms, is_discontinuity, missing, waited_ms):
                self.offset_ms = end.at_ms + missing * end.length_ms - media_ms
        start_ms = self._start_ms = media_ms + self.offset_ms
        end.moved(start_ms, read.length_ms)
        return start_ms

    @staticmethod
    def _is_natural(
        gap_ms: int, end: End, length_ms: int, is_discontinuity: bool, missing: int, waited_ms: int
    ) -> bool:
        """Whether media that begins ``gap_ms`` after the last is on the same clock."""
        if abs(gap_ms) <= NEAR_MS:
            return True
        if gap_ms < 0 or is_discontinuity:
            return False
        if missing:
            return gap_ms <= missing * end.longest_ms * 3 // 2 + _AHEAD_MS
        return gap_ms <= max(waited_ms - length_ms, 0) + _AHEAD_MS

    def place(self, timestamp: int, is_video: bool) -> int:
        """flv.Clock: the DTS of a frame, later than its track's last one whatever is sent."""
        dts = self._start_ms + timestamp
        last = self._last.get(is_video)
        if last is not None and dts <= last:
            dts = last + 1
        self._last[is_video] = dts
        return dts


class FixedClock:
    """The clock of one segment that came too late for the stream: as it would have been placed then."""

    __slots__ = ("_start_ms",)

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms

    def place(self, timestamp: int, is_video: bool) -> int:
        """flv.Clock."""
        return self._start_ms + timestamp


def in_order(packets: list[Packet]) -> list[Packet]:
    """``packets`` with tracks interleaved by DTS, the same way each time."""
    return sorted(packets, key=lambda packet: packet.dts_ms)
