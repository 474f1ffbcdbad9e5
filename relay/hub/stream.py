"""Stream: a channel's live media now. Written synchronously by one publisher, read by many subscriptions."""

import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from relay.hub.batch import Batch, Tracks, follow
from relay.hub.subscription import BacklogLimit, Reader, Subscription
from relay.media import GopCache, Packet

FORGET_MS_A_SECOND = 0.5  # clocks differ: a day of that must not look like a link that holds media back


class StreamState(StrEnum):
    """OFFLINE → LIVE on the first packet; LIVE ↔ HOLDING as publishers go and return; either → OFFLINE."""

    OFFLINE = "offline"
    LIVE = "live"
    HOLDING = "holding"


class StreamStats:
    """Plain counters the hot path increments; metrics and the API read them when asked."""

    __slots__ = (
        "arrival_base_ms",
        "arrival_lag_ms",
        "arrived_at",
        "audio_packets",
        "held_s",
        "holding_since",
        "keyframe_interval_ms",
        "last_keyframe_dts_ms",
        "last_packet_at",
        "media_bytes",
        "publishers",
        "takeovers",
        "video_packets",
    )

    def __init__(self) -> None:
        self.video_packets = 0
        self.audio_packets = 0
        self.media_bytes = 0
        self.publishers = 0
        self.takeovers = 0
        self.held_s = 0.0  # finished holds, in seconds
        self.holding_since: float | None = None  # monotonic seconds
        self.keyframe_interval_ms = 0
        self.last_keyframe_dts_ms: int | None = None
        self.last_packet_at = 0.0  # monotonic seconds: readers had it then
        self.arrived_at = 0.0  # monotonic seconds: the last one came from the publisher then
        # Arrival time minus media time: its least value so far is a link without delay, more is lag.
        self.arrival_base_ms: float | None = None
        self.arrival_lag_ms = 0.0

    def total_held_s(self) -> float:
        """Seconds spent waiting for publishers, the present hold included."""
        since = self.holding_since
        return self.held_s + (0.0 if since is None else time.monotonic() - since)

    def measure_lag_anew(self) -> None:
        """What comes next is without delay, whatever came before."""
        self.arrival_base_ms = None
        self.arrival_lag_ms = 0.0

    def hold_over(self) -> None:
        """A hold has ended, one way or the other."""
        self.held_s, self.holding_since = self.total_held_s(), None


class Stream:
    """Live media of one channel: tracks, metadata, GOP cache and readers.

    ``seq`` counts packets written; ``durable_seq`` those the archive has committed (all, where none is kept).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = StreamState.OFFLINE
        self.stats = StreamStats()
        self.metadata: Mapping[str, object] = {}
        self.tracks: Tracks = (None, None)
        self.seq = 0
        self.durable_seq = 0
        self._kept: Tracks = (None, None)  # in force after what was kept last and is yet to be shown
        self.last_dts_ms: int | None = None  # of the track further on
        self.last_video_ms: int | None = None
        self.last_audio_ms: int | None = None
        self.ended_cleanly = True  # how the last one ended: the publisher's goodbye, or its silence
        self._gop = GopCache()
        self._subscriptions: tuple[Subscription, ...] = ()
        self._keeper = False
        self._commit_lost = False
        self._on_commit: Callable[[int], None] | None = None

    # --- writing ----------------------------------------------------------------------------------------------

    def keep(self, packets: Sequence[Packet], note: str = "", missing: int = 0) -> None:
        """Give ``packets`` (at least one) to the readers that want the stream whole; ``show`` them to others later."""
        batch = Batch(packets, self._kept, self.seq + len(packets), note=note, missing=missing)
        self._kept = batch.closing
        self.seq = batch.seq
        self.stats.arrived_at = time.monotonic()
        for subscription in self._subscriptions:
            if subscription.whole:
                subscription.deliver(batch)
        if not self._keeper:
            self.commit(self.seq)

    def show(self, packets: Sequence[Packet]) -> None:
        """Give ``packets``, kept before, to all other readers."""
        self.write(packets, shown=True)

    def write(self, packets: Sequence[Packet], *, shown: bool = False) -> Batch:
        """Give ``packets`` (at least one) to every reader, now. Never waits, never fails because of a reader.

        ``shown``: those that want the stream whole have had them (``keep``).
        """
        stats = self.stats
        if not shown:
            self.seq += len(packets)
        batch = Batch(packets, self.tracks, self.seq)
        self._gop.extend(packets, batch.size, batch.last_keyframe)
        self.tracks = batch.closing
        stats.video_packets += batch.videos
        stats.audio_packets += len(packets) - batch.videos
        if batch.last_keyframe >= 0:
            self._note_keyframes(packets)
        if batch.last_video >= 0:
            self.last_video_ms = packets[batch.last_video].dts_ms
        if batch.last_audio >= 0:
            self.last_audio_ms = packets[batch.last_audio].dts_ms
        if self.last_video_ms is None or self.last_audio_ms is None:
            self.last_dts_ms = last_ms = packets[-1].dts_ms
        else:
            self.last_dts_ms = last_ms = max(self.last_video_ms, self.last_audio_ms)
        now = time.monotonic()
        forgotten_ms = (now - stats.last_packet_at) * FORGET_MS_A_SECOND
        stats.last_packet_at = now
        if not shown:
            stats.arrived_at = now
        late = now * 1000 - last_ms
        base = stats.arrival_base_ms
        stats.arrival_base_ms = base = late if base is None else min(late, base + forgotten_ms)
        stats.arrival_lag_ms = late - base
        stats.media_bytes += batch.size
        for subscription in self._subscriptions:
            if not (shown and subscription.whole):
                subscription.deliver(batch)
        if not (shown or self._keeper):
            self.commit(self.seq)
        return batch

    def _note_keyframes(self, packets: Sequence[Packet]) -> None:
        stats = self.stats
        for packet in packets:
            if packet.is_keyframe and packet.is_video:
                if stats.last_keyframe_dts_ms is not None:
                    stats.keyframe_interval_ms = packet.dts_ms - stats.last_keyframe_dts_ms
                stats.last_keyframe_dts_ms = packet.dts_ms

    def pass_on(self, batch: Batch) -> None:
        """Give another stream's ``batch`` to every reader as it is: what is encoded for one serves all."""
        self._gop.extend(batch.packets, batch.size, batch.last_keyframe)
        self.tracks = batch.closing
        self.seq += len(batch.packets)
        self.last_dts_ms = batch.last_dts_ms
        for subscription in self._subscriptions:
            subscription.deliver(batch)

    def commit(self, seq: int) -> None:
        """Everything up to packet number ``seq`` is on disk: the publisher may be told."""
        if self._commit_lost:
            return
        self.durable_seq = seq
        if self._on_commit is not None:
            self._on_commit(seq)

    def commit_lost(self) -> None:
        """Some packets will never be on disk. Acknowledgements count from the start, so this publisher gets no more."""
        self._commit_lost = True

    @property
    def is_losing(self) -> bool:
        """Whether something this publisher wrote will never be on disk."""
        return self._commit_lost

    def set_keeper(self, keeper: bool) -> None:
        """With a keeper (the archive's recorder), only its ``commit`` calls make media durable."""
        self._keeper = keeper
        if not keeper:
            self.commit(self.seq)

    def on_commit(self, callback: Callable[[int], None] | None) -> None:
        """Whom to tell of commits: the current publisher, or nobody. A new one owes nothing to the past."""
        self._commit_lost = False
        self._on_commit = callback

    # --- reading ----------------------------------------------------------------------------------------------

    def subscribe(self, reader: Reader, limit: BacklogLimit | None = None, *, whole: bool = False) -> Subscription:
        """Read from the last decodable start on: the GOP cache comes in a first batch, at once.

        ``whole``: every packet written from now on instead, decodable or not (the archive's way).
        """
        subscription = Subscription(self, reader, limit or BacklogLimit(), wants_start=not whole)
        self._subscriptions = (*self._subscriptions, subscription)
        if whole:
            return subscription
        cached = self._gop.packets
        if cached:
            video, audio = follow((None, None), cached)
            first_audio = next((packet.track for packet in cached if not packet.is_video), audio or self.tracks[1])
            closing = (video, audio or first_audio)
            subscription.deliver(Batch(tuple(cached), (cached[0].track, first_audio), self.seq, closing=closing))
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)

    @property
    def gop(self) -> Sequence[Packet]:
        """What came since the last keyframe, that included."""
        return self._gop.packets

    @property
    def readers(self) -> int:
        return len(self._subscriptions)

    def end(self, error: Exception | None = None) -> None:
        """Tell every reader that nothing more comes, and why if that is a failure."""
        for subscription in self._subscriptions:
            subscription.end(error)

    def reset(self) -> None:
        """The stream is over: readers are told, and the next publisher starts from nothing."""
        self.end()
        self._gop.clear()
        self.tracks = self._kept = (None, None)
        self.metadata = {}
        self.last_dts_ms = self.last_video_ms = self.last_audio_ms = None
        self.stats.last_keyframe_dts_ms = None
        self.stats.keyframe_interval_ms = 0
        self.stats.measure_lag_anew()
