"""Player: one RTMP peer that watches a stream: fed while it reads, dropped when it does not (hub.Reader)."""

from collections.abc import Callable

from relay.hub import BacklogLimit, Batch, Stream
from relay.hub.feed import RtmpFeed


class Player:
    """``over`` is called when the stream is, with the failure if it was one. Times in loop seconds."""

    def __init__(
        self,
        stream: Stream,
        write: Callable[[bytes], None],
        over: Callable[[Exception | None], None],
        *,
        chunk_size: int,
        stream_id: int,
        limit: BacklogLimit,
    ) -> None:
        self._over = over
        self._paused_at: float | None = None
        self._feed = RtmpFeed(
            write, chunk_size=chunk_size, stream_id=stream_id, publishing=False, metadata=stream.metadata
        )
        self._subscription = stream.subscribe(self, limit)

    def take(self, batch: Batch) -> None:
        self._feed.take(batch)

    def ended(self, error: Exception | None) -> None:
        self._over(error)

    def pause(self, now: float) -> None:
        """Its socket takes no more for now."""
        self._paused_at = now
        self._subscription.pause()

    def resume(self) -> None:
        self._paused_at = None
        self._subscription.resume()

    def is_stuck(self, now: float, stall_s: float) -> bool:
        """Whether it has read nothing for ``stall_s`` though there is something to read."""
        return self._paused_at is not None and now - self._paused_at > stall_s

    def close(self) -> None:
        """Leave the stream; ``over`` is not called."""
        self._subscription.close()
