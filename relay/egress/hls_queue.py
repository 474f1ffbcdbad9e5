"""What an HLS destination keeps across its attempts: segments not delivered yet, and the playlist of those that are."""

import asyncio
import secrets
import time
from collections import deque
from typing import NamedTuple

from relay.egress.hls_segments import MOST_MS, Piece, Segmenter
from relay.hub import BacklogLimit, Stream

WINDOW = 8  # segments in a playlist


class Segment(NamedTuple):
    """One finished segment. ``number`` is its Media Sequence Number; ``packets`` how many are in it."""

    number: int
    name: str
    data: bytes
    duration_ms: int
    is_discontinuity: bool
    packets: int


class Lane:
    """One of the places the segments go to, at a pace of its own: what is still to be sent, what was accepted.

    Over the limit the oldest waiting segments are dropped, and the next one sent is a discontinuity.
    """

    def __init__(self, limit: BacklogLimit) -> None:
        self._limit = limit
        self.dropped = 0  # packets
        self.queue: deque[Segment] = deque()
        self.sending: Segment | None = None  # the head of the queue, while it is on its way
        self.changed = asyncio.Event()
        self._place: object = None
        self._bytes = 0
        self._ms = 0
        self._begin()

    def _begin(self) -> None:
        self._window: deque[Segment] = deque()
        self._last: int | None = None  # number of what was accepted last
        self._discontinuities = 0  # that have left the window
        self._target_s = MOST_MS // 1000

    def aim(self, place: object) -> None:
        """From now on the segments go to ``place``; another one begins with an empty playlist."""
        if place != self._place:
            self._place = place
            self._begin()

    @property
    def backlog_ms(self) -> int:
        """Media time that waits, in ms."""
        return self._ms

    @property
    def has_playlist(self) -> bool:
        return bool(self._window)

    def add(self, segment: Segment) -> None:
        """Queue a new segment."""
        self.queue.append(segment)
        self._bytes += len(segment.data)
        self._ms += segment.duration_ms
        while len(self.queue) > 1 and (self._bytes > self._limit.max_bytes or self._ms > self._limit.max_ms):
            self._drop(1 if self.sending is self.queue[0] else 0)
        self.changed.set()

    def accepted(self) -> None:
        """The head of the queue was accepted."""
        segment = self.queue[0]
        self._forget(0)
        if self._last is None:
            segment = segment._replace(is_discontinuity=False)
        elif not self._window or segment.number != self._last + 1:
            self.over()  # numbers in a playlist have no holes
            segment = segment._replace(is_discontinuity=True)
        self._last = segment.number
        self._window.append(segment._replace(data=b""))
        self._target_s = max(self._target_s, (segment.duration_ms + 500) // 1000)
        while len(self._window) > WINDOW:
            self._discontinuities += self._window.popleft().is_discontinuity

    def playlist(self, *, is_over: bool = False) -> bytes:
        """The media playlist (RFC 8216) of what was accepted last; ``is_over``: nothing follows."""
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:3",
            f"#EXT-X-TARGETDURATION:{self._target_s}",
            f"#EXT-X-MEDIA-SEQUENCE:{self._window[0].number}",
        ]
        if self._discontinuities:
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{self._discontinuities}")
        for segment in self._window:
            if segment.is_discontinuity:
                lines.append("#EXT-X-DISCONTINUITY")
            lines += [f"#EXTINF:{segment.duration_ms / 1000:.3f},", segment.name]
        if is_over:
            lines.append("#EXT-X-ENDLIST")
        return "\n".join([*lines, ""]).encode()

    def over(self) -> None:
        """The playlist has ended: what follows begins another one."""
        self._discontinuities += sum(segment.is_discontinuity for segment in self._window)
        self._window.clear()

    def clear(self) -> None:
        """Drop what waits."""
        while self.queue:
            self._drop(0)
        self.over()

    def _drop(self, index: int) -> None:
        self.dropped += self.queue[index].packets
        self._forget(index)

    def _forget(self, index: int) -> None:
        segment = self.queue[index]
        del self.queue[index]
        self._bytes -= len(segment.data)
        self._ms -= segment.duration_ms


class Outbox:
    """The numbering, the open piece and both lanes of one destination (egress.base.Kept)."""

    def __init__(self, limit: BacklogLimit) -> None:
        self.segmenter = Segmenter()
        self.primary = Lane(limit)
        self.backup = Lane(limit)
        self.source: Stream | None = None  # what the open piece is of
        self.pieces: deque[Piece] = deque()  # cut, and still to be made into segments
        self._lost = 0  # packets of pieces that came to nothing
        self._is_broken = False
        # No number and no name comes twice, also after a restart: segments last longer than a second.
        self._number = int(time.time())
        self._mark = secrets.token_hex(3)

    @property
    def backlog_ms(self) -> int:
        """Media time not delivered yet, in ms."""
        return self.primary.backlog_ms + sum(piece.duration_ms for piece in self.pieces) + self.segmenter.open_ms

    @property
    def dropped(self) -> int:
        """Packets that will not be delivered."""
        return self.primary.dropped + self.segmenter.dropped + self._lost

    def segment(self, data: bytes) -> Segment:
        """The piece cut first, with its number and name; ``data`` is what it was made into."""
        piece = self.pieces.popleft()
        self._number += 1
        is_discontinuity, self._is_broken = piece.is_discontinuity or self._is_broken, False
        name = f"{self._mark}-{self._number}.ts"
        return Segment(self._number, name, data, piece.duration_ms, is_discontinuity, len(piece.packets))

    def lose(self) -> None:
        """The piece cut first comes to nothing."""
        self._lost += len(self.pieces.popleft().packets)
        self._is_broken = True

    def clear(self) -> None:
        """Nothing is wanted any more: let go of all media. Numbers go on."""
        rest = self.segmenter.reset()
        self.pieces += [] if rest is None else [rest]
        self._lost += sum(len(piece.packets) for piece in self.pieces)
        self.pieces.clear()
        self.source = None
        for lane in (self.primary, self.backup):
            lane.clear()
