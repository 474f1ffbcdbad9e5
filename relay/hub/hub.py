"""Hub: the registry of live streams, and the lease that says who publishes each."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from relay.errors import RefusedError
from relay.hub.load import Load
from relay.hub.pace import Pacer
from relay.hub.stream import Stream, StreamState
from relay.hub.tick import Ticker
from relay.media import Packet
from relay.media.timeline import Timeline

CONTEST_S = 60.0
CONTEST_TAKEOVERS = 3
SILENT_S = 2.0
MOST_LAG_MS = 60_000
PACE_MS = 50


class Publisher(Protocol):
    """The connection behind a lease."""

    def evicted(self, reason: str) -> None:
        """The lease went to somebody else or was taken away: stop sending and close."""

    def committed(self, seq: int) -> None:
        """Packets up to stream number ``seq`` are durable."""


class StreamListener(Protocol):
    """Told of a stream's states: destinations and the archive start and stop by these."""

    def stream_live(self, stream: Stream) -> None:
        """Media begins: the first packets are written right after this."""

    def stream_resumed(self, stream: Stream) -> None:
        """A publisher returned while the stream was holding; its media follows right after this."""

    def stream_holding(self, stream: Stream) -> None:
        """The publisher is gone or stalled; the stream is kept."""

    def stream_offline(self, stream: Stream) -> None:
        """The stream is over."""


class Lease:
    """The right to write one stream. Lost to the next publisher with the same key; a lost lease writes nothing."""

    __slots__ = ("_hub", "current", "pacer", "publisher", "started_at", "stream", "timeline")

    def __init__(self, hub: "Hub", stream: Stream, publisher: Publisher, timeline: Timeline) -> None:
        self._hub = hub
        self.stream = stream
        self.publisher = publisher
        self.timeline = timeline
        self.current = True
        self.pacer: Pacer | None = None
        self.started_at = time.time()

    def write(self, packets: Sequence[Packet]) -> None:
        """Write packets (at least one) to the stream. Without effect once the lease is lost."""
        if self.current:
            self._hub.written(self, packets)

    def keep(self, packets: Sequence[Packet], note: str = "", missing: int = 0) -> int:
        """A piece of seconds that arrived at once: kept now, and shown at the pace of its clock. For those who never
        ``write``.

        ``note`` (up to 1,000 characters) is written to disk with it; ``missing`` says how many pieces, before one with
        a note, did not come. The stream's number of its last packet: ``Publisher.committed`` is told that one, or a
        later one, once all of it is durable.
        """
        if self.current:
            self._hub.kept(self, packets, note, missing)
        return self.stream.seq

    @property
    def unshown_ms(self) -> int:
        """Media time kept that is yet to be shown, in ms."""
        return 0 if self.pacer is None else self.pacer.waiting_ms

    def describe(self, metadata: Mapping[str, object]) -> None:
        """Keep the publisher's onMetaData for readers that ask."""
        if self.current:
            self.stream.metadata = metadata

    def stalled(self) -> None:
        """No media for a while, though the connection is up: the stream is held until it flows again."""
        self._hub.stalled(self)

    def release(self, *, clean: bool) -> None:
        """The publisher is gone. ``clean``: it said goodbye, so the stream ends now instead of being held."""
        self._hub.released(self, clean=clean)


class Hub:
    """All streams by channel name. Made and used on one event loop."""

    def __init__(self, hold_s: float = 120.0, load: Load | None = None) -> None:
        """``load``: what media costs; where it is full, nobody new comes on the air."""
        self.hold_s = hold_s
        self.load = load
        self._hold_s: dict[str, float] = {}  # by channel, where it is another
        self._streams: dict[str, Stream] = {}
        self._leases: dict[str, Lease] = {}
        self._holds: dict[str, asyncio.TimerHandle] = {}
        self._listeners: list[StreamListener] = []
        self._pace: Ticker | None = None
        self._contests: dict[str, deque[float]] = {}  # monotonic times at which a sending publisher lost its lease

    def listen(self, listener: StreamListener) -> None:
        self._listeners.append(listener)

    def set_hold(self, name: str, hold_s: float) -> None:
        """How long channel ``name`` waits for a publisher that vanished, in seconds; also where it waits now."""
        self._hold_s[name] = hold_s
        timer, stream = self._holds.get(name), self._streams.get(name)
        if timer is not None and stream is not None and stream.stats.holding_since is not None:
            timer.cancel()
            left_s = hold_s - (time.monotonic() - stream.stats.holding_since)
            self._holds[name] = asyncio.get_running_loop().call_later(max(0.0, left_s), self._hold_over, name)

    def hold_of(self, name: str) -> float:
        return self._hold_s.get(name, self.hold_s)

    def stream(self, name: str) -> Stream:
        """The stream of channel ``name``, made on first use."""
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream(name)
        return stream

    @property
    def streams(self) -> Mapping[str, Stream]:
        return self._streams

    def lease(self, name: str) -> Lease | None:
        return self._leases.get(name)

    def is_contested(self, name: str) -> bool:
        """Whether two encoders that both send fight over the channel's key."""
        return len(self._recent_contests(name)) >= CONTEST_TAKEOVERS

    def admit(self, name: str) -> None:
        """May somebody publish ``name`` now? The newest may, but for those who take a sending encoder's place in turns.

        Raises RefusedError in words an encoder can show.
        """
        stream = self._streams.get(name)
        is_on_air = stream is not None and stream.state is not StreamState.OFFLINE
        if not is_on_air and self.load is not None and self.load.ratio >= 1:
            raise RefusedError("busy", "the relay has no room for another stream now: try again later, or use another")
        if self._is_sending(name) and self.is_contested(name):
            raise RefusedError(
                "contested",
                f"another encoder is live on {name} with this key, and both keep taking over: "
                "stop one of them, or give it a channel of its own",
            )

    def _is_sending(self, name: str) -> bool:
        stream = self._streams.get(name)
        if stream is None or name not in self._leases or stream.state is not StreamState.LIVE:
            return False
        return time.monotonic() - stream.stats.last_packet_at < SILENT_S

    def _recent_contests(self, name: str) -> deque[float]:
        times = self._contests.get(name)
        if times is None:
            return deque()
        horizon = time.monotonic() - CONTEST_S
        while times and times[0] < horizon:
            times.popleft()
        return times

    def publish(self, name: str, publisher: Publisher) -> Lease:
        """Give ``publisher`` the stream, at once; whoever had it is evicted."""
        stream = self.stream(name)
        if self._is_sending(name):
            self._contests.setdefault(name, deque(maxlen=CONTEST_TAKEOVERS)).append(time.monotonic())
        stream.stats.publishers += 1
        previous = self._leases.pop(name, None)
        if previous is not None:
            self._show_rest(previous)
            previous.current = False
            stream.stats.takeovers += 1
            previous.publisher.evicted("another encoder took over with the same key")
        timeline = Timeline()
        if stream.last_dts_ms is not None:
            now = time.monotonic()
            away_ms = int((now - stream.stats.arrived_at) * 1000)
            floor = (stream.last_video_ms, stream.last_audio_ms)
            # What the old link held back is missing too, and the new one begins without delay.
            away_ms += min(int(stream.stats.arrival_lag_ms), MOST_LAG_MS)
            timeline = Timeline(stream.last_dts_ms + max(away_ms, 1), floor, int(now * 1000))
        lease = self._leases[name] = Lease(self, stream, publisher, timeline)
        stream.on_commit(publisher.committed)
        if stream.state is StreamState.LIVE and self.hold_of(name) > 0:
            self._enter_holding(stream)  # until the new one's media is here
        return lease

    def written(self, lease: Lease, packets: Sequence[Packet]) -> None:
        stream = lease.stream
        if stream.state is not StreamState.LIVE:
            self._enter_live(stream)
        stream.write(packets)

    def kept(self, lease: Lease, packets: Sequence[Packet], note: str, missing: int) -> None:
        stream = lease.stream
        if stream.state is not StreamState.LIVE:
            self._enter_live(stream)
        if lease.pacer is None:
            loop = asyncio.get_running_loop()
            if self._pace is None:
                self._pace = Ticker(loop, PACE_MS)
            lease.pacer = Pacer(self._pace, loop.time, stream.show)
            stream.stats.measure_lag_anew()  # by its pace, not by that of who was before
        stream.keep(packets, note, missing)
        lease.pacer.add(packets)

    @staticmethod
    def _show_rest(lease: Lease) -> None:
        """A lease that ends: whoever comes next goes on after all that was kept."""
        if lease.pacer is not None:
            lease.pacer.flush()

    def stalled(self, lease: Lease) -> None:
        if lease.current and lease.stream.state is StreamState.LIVE:
            self._enter_holding(lease.stream)

    def released(self, lease: Lease, *, clean: bool) -> None:
        if not lease.current:
            return
        self._show_rest(lease)
        lease.current = False
        stream = lease.stream
        del self._leases[stream.name]
        stream.on_commit(None)
        if stream.state is StreamState.OFFLINE:
            return
        if clean or self.hold_of(stream.name) <= 0:
            self.end(stream.name, clean=clean)
        elif stream.state is StreamState.LIVE:
            self._enter_holding(stream)

    def end(self, name: str, reason: str = "the channel was closed", *, clean: bool = True) -> None:
        """End the stream now: publisher evicted with ``reason``, readers told, listeners told."""
        stream = self._streams.get(name)
        if stream is None:
            return
        lease = self._leases.pop(name, None)
        if lease is not None:
            self._show_rest(lease)
            lease.current = False
            stream.on_commit(None)
            lease.publisher.evicted(reason)
        self._cancel_hold(name)
        if stream.state is StreamState.OFFLINE:
            return
        stream.state = StreamState.OFFLINE
        stream.ended_cleanly = clean
        stream.reset()
        for listener in self._listeners:
            listener.stream_offline(stream)

    def remove(self, name: str) -> None:
        """End the stream and forget the channel."""
        self.end(name)
        self._streams.pop(name, None)
        self._hold_s.pop(name, None)
        self._contests.pop(name, None)

    def _enter_live(self, stream: Stream) -> None:
        was, stream.state = stream.state, StreamState.LIVE
        self._cancel_hold(stream.name)
        for listener in self._listeners:
            if was is StreamState.HOLDING:
                stream.stats.last_keyframe_dts_ms = None  # the pause is no interval
                listener.stream_resumed(stream)
            else:
                listener.stream_live(stream)

    def _enter_holding(self, stream: Stream) -> None:
        stream.state = StreamState.HOLDING
        stream.stats.holding_since = time.monotonic()
        loop = asyncio.get_running_loop()
        self._holds[stream.name] = loop.call_later(self.hold_of(stream.name), self._hold_over, stream.name)
        for listener in self._listeners:
            listener.stream_holding(stream)

    def _hold_over(self, name: str) -> None:
        if name in self._leases:  # somebody is about to send: media, or the door's own deadlines, decide
            self._holds[name] = asyncio.get_running_loop().call_later(1.0, self._hold_over, name)
            return
        self.end(name, "media did not return in time", clean=False)

    def _cancel_hold(self, name: str) -> None:
        timer = self._holds.pop(name, None)
        if timer is not None:
            timer.cancel()
            self._streams[name].stats.hold_over()
