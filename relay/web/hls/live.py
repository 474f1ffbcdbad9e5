"""LiveChannels: one muxer for each channel that is live, kept a while after its end; and what viewers cost."""

import asyncio
import time
from collections import Counter

from relay.archive.archive import Archive
from relay.config import Settings
from relay.hub import Hub, Stream
from relay.web.hls.muxer import Muxer
from relay.web.hls.past import Past

VIEWER_S = 30.0  # who asked for a playlist within this is watching


class Watched:
    """What one channel's viewers asked for: plain counters, read by the metrics."""

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.requests: Counter[str] = Counter()  # by kind
        self._seen: dict[object, float] = {}  # connections (their address and port): monotonic seconds
        self._swept = 0.0

    def asked(self, connection: object) -> None:
        """``connection`` asked for a playlist."""
        now = time.monotonic()
        self._seen[connection] = now
        if now - self._swept > VIEWER_S:
            self._sweep(now)

    @property
    def viewers(self) -> int:
        """How many connections asked for a playlist lately."""
        self._sweep(time.monotonic())
        return len(self._seen)

    def _sweep(self, now: float) -> None:
        self._swept = now
        self._seen = {connection: at for connection, at in self._seen.items() if now - at <= VIEWER_S}


class LiveChannels:
    """Follows the hub's streams (hub.StreamListener)."""

    def __init__(self, hub: Hub, archive: Archive | None, settings: Settings) -> None:
        self._archive = archive
        self._settings = settings
        self.past = Past(None if archive is None else archive.library)
        self._muxers: dict[str, list[Muxer]] = {}  # by channel, the newest last
        self._watched: dict[str, Watched] = {}
        hub.listen(self)

    def muxer(self, channel: str) -> Muxer | None:
        """The live stream of ``channel``, or the one that ended not long ago."""
        muxers = self._muxers.get(channel)
        return muxers[-1] if muxers else None

    def run(self, channel: str, run: str) -> Muxer | None:
        """The stream whose media is named with ``run``."""
        return next((muxer for muxer in self._muxers.get(channel, ()) if muxer.run == run), None)

    def watched(self, channel: str) -> Watched:
        """The counters of ``channel``, which must be a configured one."""
        found = self._watched.get(channel)
        if found is None:
            found = self._watched[channel] = Watched()
        return found

    @property
    def kept_bytes(self) -> int:
        """Media in memory for viewers."""
        return sum(muxer.window.kept_bytes for muxers in self._muxers.values() for muxer in muxers)

    # --- hub.StreamListener ---------------------------------------------------------------------------------------

    def stream_live(self, stream: Stream) -> None:
        name, live, archive = stream.name, self._settings.live, self._archive
        muxer = Muxer(
            stream,
            lambda: None if archive is None else archive.place(name),
            window_s=live.dvr_s,
            # By then the archive has cut and packaged its own segment of it.
            keep_s=self._settings.archive.segment_s + 8,
            memory_bytes=live.memory_bytes,
        )
        if self.watched(name).viewers:
            muxer.asked()  # they are still there, from the stream before
        muxers = self._muxers.setdefault(name, [])
        muxers[:] = [*muxers[-1:], muxer]

    def stream_resumed(self, stream: Stream) -> None:
        muxer = self.muxer(stream.name)
        if muxer is not None:
            muxer.resumed()

    def stream_holding(self, stream: Stream) -> None:
        muxer = self.muxer(stream.name)
        if muxer is not None:
            muxer.holding()

    def stream_offline(self, stream: Stream) -> None:
        muxer = self.muxer(stream.name)
        if muxer is not None:
            muxer.finish()
            asyncio.get_running_loop().call_later(self._settings.live.ended_s, self._drop, stream.name, muxer)

    def _drop(self, name: str, muxer: Muxer) -> None:
        left = [other for other in self._muxers.get(name, ()) if other is not muxer]
        if left:
            self._muxers[name] = left
        else:
            self._muxers.pop(name, None)
