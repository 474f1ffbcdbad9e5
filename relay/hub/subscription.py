"""Subscription: one reader's place in a stream, with a bounded backlog that drops to the next keyframe."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from relay.hub.batch import Batch

if TYPE_CHECKING:
    from relay.hub.stream import Stream


class Reader(Protocol):
    """What a subscription feeds. Called on the loop, inside the publisher's read: quick, never waiting."""

    def take(self, batch: Batch) -> None:
        """Send or keep this batch now. Call ``Subscription.pause`` first when no more should follow."""

    def ended(self, error: Exception | None) -> None:
        """The stream is over (``None``; a backlog is taken first) or ``take`` raised ``error``: nothing more comes."""


@dataclass(frozen=True, slots=True)
class BacklogLimit:
    """How much a reader may fall behind: media time in ms and bytes of media, whichever is reached first."""

    max_ms: int = 10_000
    max_bytes: int = 8 * 1024 * 1024


class Subscription:
    """Delivers batches at once while the reader keeps up; keeps them, bounded, while it is paused.

    Over the limit the oldest media goes, up to the next decodable start still held; with none held, all of it,
    and delivery starts again at the next keyframe. ``dropped_packets`` counts what was missed since the first
    delivery; what came before the first keyframe was never owed.
    """

    __slots__ = (
        "_backlog",
        "_bytes",
        "_ending",
        "_limit",
        "_paused",
        "_reader",
        "_started",
        "_stream",
        "_wants_start",
        "dropped_packets",
        "whole",
    )

    def __init__(self, stream: "Stream", reader: Reader, limit: BacklogLimit, *, wants_start: bool = True) -> None:
        self._stream: Stream | None = stream
        self._reader = reader
        self._limit = limit
        self._backlog: deque[Batch] = deque()
        self._bytes = 0
        self._paused = False
        self.whole = not wants_start
        self._wants_start = wants_start
        self._started = False
        self._ending = False
        self.dropped_packets = 0

    @property
    def stream(self) -> "Stream | None":
        """The stream read from, or ``None`` once over."""
        return self._stream

    @property
    def backlog_bytes(self) -> int:
        return self._bytes

    @property
    def backlog_ms(self) -> int:
        """Media time held back, in ms."""
        return self._backlog[-1].last_dts_ms - self._backlog[0].first_dts_ms if self._backlog else 0

    def deliver(self, batch: Batch) -> None:
        """Called by the stream for each batch; never raises for the reader's sake."""
        if self._wants_start:
            skipped = len(batch.packets) if batch.start < 0 else batch.start
            if self._started:
                self.dropped_packets += skipped
            if batch.start < 0:
                return
            batch = batch.from_start()
            self._wants_start = False
        self._started = True
        if self._paused or self._backlog:
            self._keep(batch)
        else:
            self._take(batch)

    def pause(self) -> None:
        """The reader can take no more for now."""
        self._paused = True

    def resume(self) -> None:
        """The reader can take again: hand over what was kept."""
        self._paused = False
        while self._backlog and not self._paused:
            batch = self._backlog.popleft()
            self._bytes -= batch.size
            self._take(batch)
        if self._ending and not self._backlog:
            self._ending = False
            self._reader.ended(None)

    def close(self) -> None:
        """Leave the stream, from the reader's side. ``ended`` is not called."""
        self._ending = False
        self._backlog.clear()
        self._bytes = 0
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.unsubscribe(self)

    def end(self, error: Exception | None = None) -> None:
        """The stream is over, or the reader failed: leave and tell the reader, once it has taken its backlog."""
        stream = self._stream
        if stream is None and not self._ending:
            return
        if stream is not None and error is None and self._backlog:
            stream.unsubscribe(self)
            self._stream = None
            self._ending = True
            return
        self.close()
        self._reader.ended(error)

    def _take(self, batch: Batch) -> None:
        try:
            self._reader.take(batch)
        except Exception as error:  # noqa: BLE001 - a guest's fault ends the guest, never the publisher
            self.end(error)

    def _keep(self, batch: Batch) -> None:
        self._backlog.append(batch)
        self._bytes += batch.size
        if self._bytes > self._limit.max_bytes or self.backlog_ms > self._limit.max_ms:
            self._drop()

    def _drop(self) -> None:
        """Make room: forget the head of the backlog, up to a later decodable start that brings it under limit."""
        backlog = self._backlog
        while backlog and (self._bytes > self._limit.max_bytes or self.backlog_ms > self._limit.max_ms):
            self._forget_head()
            while backlog and backlog[0].start < 0:
                self._forget_head()
            if backlog:
                head = backlog[0]
                trimmed = head.from_start()
                self.dropped_packets += len(head.packets) - len(trimmed.packets)
                self._bytes -= head.size - trimmed.size
                backlog[0] = trimmed
        if not backlog:
            self._wants_start = True

    def _forget_head(self) -> None:
        head = self._backlog.popleft()
        self._bytes -= head.size
        self.dropped_packets += len(head.packets)
