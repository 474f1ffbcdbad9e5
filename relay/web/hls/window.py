"""Window: a live stream's closed segments: which of them the playlist lists, and which are still in memory."""

from collections import deque

from relay.web.hls.cut import Segment

LEAST_TARGETS = 4  # target durations that are always in the playlist; three must be (§6.2.2), at any moment


class Window:
    """``segments``: oldest first. ``first_listed``: number of the first in the playlist; ``first_epoch``: its epoch's.

    ``kept_bytes``: media in memory. The playlist goes back by ``window_ms``; what the archive has leaves memory after
    ``keep_ms``, and what it has not may take ``memory_bytes``.
    """

    __slots__ = ("_keep_ms", "_memory_bytes", "_window_ms", "first_epoch", "first_listed", "kept_bytes", "segments")

    def __init__(self, window_ms: int, keep_ms: int, memory_bytes: int) -> None:
        self.segments: deque[Segment] = deque()
        self.first_listed = 0
        self.first_epoch = 0
        self.kept_bytes = 0
        self._window_ms = window_ms
        self._keep_ms = keep_ms
        self._memory_bytes = memory_bytes

    def begin_with(self, first: Segment) -> None:
        """``first`` is the first of the playlist."""
        self.first_listed, self.first_epoch = first.number, first.epoch.number

    def add(self, segment: Segment, target_s: int, *, is_watched: bool) -> None:
        """One more, just closed; others may have to go."""
        self.segments.append(segment)
        if is_watched:
            self._forget(target_s)
        else:
            self._forget_most()

    def _forget(self, target_s: int) -> None:
        """Take from the playlist what is older than the window, from memory what the archive has by now.

        What has left the playlist can still be loaded for as long as it was in it (§6.2.2).
        """
        least_ms = LEAST_TARGETS * 1000 * target_s
        age_ms = listed_bytes = kept_bytes = 0
        first, gone = self.segments[-1], 0
        for segment in reversed(self.segments):
            in_archive = segment.epoch.place is not None
            if segment.is_kept:
                kept_bytes += segment.size
                is_stale = kept_bytes > self._memory_bytes or (in_archive and age_ms > self._keep_ms)
                if is_stale and age_ms > least_ms:
                    segment.forget()
                    self.kept_bytes -= segment.size
            if segment.number >= self.first_listed and first.number == segment.number + 1:
                listed_bytes += 0 if in_archive else segment.size
                fits = age_ms + segment.duration_ms <= self._window_ms and (in_archive or segment.is_kept)
                if age_ms < least_ms or (fits and listed_bytes * 3 <= self._memory_bytes * 2):
                    first = segment
            age_ms += segment.duration_ms
            gone += age_ms > 2 * self._window_ms and segment.number < first.number
        for _ in range(gone):
            self._drop()
        self._list_from(first)

    def _forget_most(self) -> None:
        """Nobody watches: keep the newest segment, and of the others what the archive has to offer."""
        newest = self.segments[-1]
        oldest_ms = newest.end_ms - self._window_ms
        while self.segments[0] is not newest:
            first = self.segments[0]
            if first.epoch.place is not None and first.start_ms >= oldest_ms:
                break
            self._drop()
        for segment in reversed(self.segments):
            if segment is not newest:
                if not segment.is_kept:
                    break
                segment.forget()
                self.kept_bytes -= segment.size
        self._list_from(self.segments[0])

    def _drop(self) -> None:
        segment = self.segments.popleft()
        self.kept_bytes -= segment.size if segment.is_kept else 0

    def _list_from(self, first: Segment) -> None:
        self.first_listed, self.first_epoch = first.number, first.epoch.number - first.breaks
