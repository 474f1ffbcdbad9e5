"""One attempt at an HLS source: choose a variant, follow its playlists, hand all of it to the channel's feed."""

import asyncio
from urllib.parse import urlsplit

import structlog

from relay.errors import DestinationError, LimitError, ProtocolError, RefusedError
from relay.ingest import segment as pieces
from relay.ingest.feed import SegmentFeed
from relay.ingest.hls_fetch import Fetcher
from relay.ingest.hls_lane import PARTS, PLACES, Lane
from relay.ingest.hls_position import Position
from relay.ingest.source import Around, SourceConfig, Telling, taken
from relay.protocol.m3u8 import Multivariant, parse, resolve

log = structlog.get_logger("relay.ingest.pull")

ENDED_S = 10.0  # how often a source that has ended is asked whether it goes on
RESTART_S = 10.0  # two playlists of one source begin anew together
CHECK_S = 0.5
BUSY_TRIES = 20
PATIENCE_S = 3.0
PICTURE, SOUND = "pull", "pull-sound"


class HlsPull:
    """Runs once. ``positions``, by playlist, are kept by the caller from one attempt to the next."""

    def __init__(
        self, channel: str, config: SourceConfig, around: Around, telling: Telling, positions: dict[str, Position]
    ) -> None:
        self._channel = channel
        self._config = config
        self._around = around
        self._telling = telling
        self._positions = positions
        self._loop = asyncio.get_running_loop()
        self._feed: SegmentFeed | None = None
        self._restarted_at = float("-inf")
        self._puts: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._evicted: asyncio.Future[None] = self._loop.create_future()
        self._checking: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Follow the source, and its next beginnings where it ends, until something fails (DestinationError)."""
        config, around = self._config, self._around
        for position in self._positions.values():
            position.begin()
        try:
            async with Fetcher(config, around.settings, around.tls, self._count) as fetcher:
                await self._remember()
                lanes = [
                    Lane(url, name, self._position(name), fetcher, self, around.settings.limits, self._channel)
                    for name, url in (await self._choose(fetcher)).items()
                ]
                while True:
                    await self._follow(lanes)
                    await self._goodbye()
                    self._telling.waiting(f"the source has ended its stream; it is asked every {ENDED_S:g} s for more")
                    await asyncio.sleep(ENDED_S)
        finally:
            self._drop_feed()
            if self._evicted.done():
                self._evicted.exception()  # retrieved: something else may have failed first

    def leave(self) -> None:
        """Not wanted any more: the stream ends with this attempt."""
        self._leaving = True

    async def _remember(self) -> None:
        """After a restart of the relay: go on behind what its archive has of this source."""
        if any(position.is_known for position in self._positions.values()):
            return
        lasts: dict[str, tuple[int, int | None]] = {}
        for note in await self._around.notes(self._channel):
            key = pieces.read_note(note.text)
            name, slash, number = ("", "", "") if key is None else key.name.partition("/")
            whole = name.removesuffix(PARTS)
            if slash and whole in (PICTURE, SOUND) and number.isascii() and number.isdigit():
                sequence, place = (int(number), 0) if whole == name else divmod(int(number), PLACES)
                lasts[whole] = sequence, place - 1 if place else None
        for name, (sequence, part) in lasts.items():
            self._position(name).resume(sequence, part)

    def _position(self, name: str) -> Position:
        return self._positions.setdefault(name, Position())

    def _count(self, nbytes: int) -> None:
        self._around.bytes_received[self._channel] += nbytes
        if self._feed is not None:
            self._feed.bytes_received += nbytes

    async def _choose(self, fetcher: Fetcher) -> dict[str, str]:
        """The URLs of the playlists to follow, by name: one, or picture and sound apart."""
        limits = self._around.settings.limits
        source = self._config.url.reveal()
        found = await fetcher.get(source, limits.hls_playlist_bytes, limits.http_deadline_s)
        assert found is not None  # no validators were given
        try:
            playlist = parse(found.data, limits.hls_playlist_bytes)
            if not isinstance(playlist, Multivariant):
                return {PICTURE: source}
            variant = playlist.best(self._config.max_kbps)
            sound = playlist.sound_of(variant)
            chosen = {PICTURE: resolve(found.url, variant.uri)}
            if sound is not None:
                chosen[SOUND] = resolve(found.url, sound.uri)
        except ProtocolError as error:
            raise DestinationError(str(error), "protocol") from error
        log.info(
            "variant chosen",
            channel=self._channel,
            kbps=variant.bandwidth // 1000,
            height=variant.height,
            of=len(playlist.variants),
            sound_apart=sound is not None,
        )
        return chosen

    async def _follow(self, lanes: list[Lane]) -> None:
        """Run ``lanes`` until all have ended, one fails, or the channel goes elsewhere."""
        tasks = {asyncio.create_task(lane.run()) for lane in lanes}
        going = set(tasks)
        try:
            while going:
                done, _ = await asyncio.wait({*going, self._evicted}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                going -= done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- hls_lane.Taker ---------------------------------------------------------------------------------------

    async def put(self, segment: pieces.Segment) -> None:
        """Hand a segment to the feed, which takes the channel with its first one.

        Returns once it is durable, or when the disk has had its time: what comes next is shown all the same.
        """
        feed = self._feed or self._new_feed()
        task = asyncio.create_task(self._put(feed, segment))
        self._puts.add(task)
        task.add_done_callback(self._put_done)
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        if task.cancelled():  # its feed was dropped
            raise DestinationError("the source began anew before this segment was taken", "restarted")
        if done:
            task.result()
        if feed is self._feed:
            self._telling.live()

    @staticmethod
    async def _put(feed: SegmentFeed, segment: pieces.Segment) -> None:
        feed.uploading += 1
        try:
            for _ in range(BUSY_TRIES):
                try:
                    await feed.put(segment)
                except LimitError as error:
                    if error.limit != "hls_demux_queue":
                        raise
                else:
                    return
                await asyncio.sleep(CHECK_S)
            raise DestinationError("too many segments of all channels wait to be read", "busy")
        except RefusedError as error:
            if error.outcome in ("taken_over", "contested"):
                raise taken() from error
            raise DestinationError(str(error), error.outcome) from error
        finally:
            feed.uploading -= 1

    def _put_done(self, task: "asyncio.Task[None]") -> None:
        self._puts.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.debug("segment not taken", channel=self._channel, reason=str(error))  # told by whoever waited for it

    def missing(self, numbers: range, track: str) -> None:
        if self._feed is not None:
            self._feed.missing(numbers, track)

    def restart(self) -> None:
        """What comes now has other numbers and times: a feed of its own."""
        now = self._loop.time()
        if now - self._restarted_at > RESTART_S:
            self._restarted_at = now
            self._drop_feed()

    @property
    def unshown_ms(self) -> int:
        lease = self._around.hub.lease(self._channel)
        return lease.unshown_ms if lease is not None and lease.publisher is self._feed else 0

    # --- the feed ---------------------------------------------------------------------------------------------

    def _new_feed(self) -> SegmentFeed:
        around = self._around

        def admit(channel: str) -> None:
            """Nobody is put out by a source; and what a feed still reads when it is dropped stays out."""
            if self._feed is not feed:
                raise RefusedError("ended", "the source is pulled no more")
            lease = around.hub.lease(channel)
            if lease is not None and lease.publisher is not feed:
                raise RefusedError("contested", "somebody publishes to the channel")

        self._feed = feed = SegmentFeed(
            around.hub,
            self._channel,
            demuxer=around.demuxer,
            notes=around.notes,
            backfill=around.backfill,
            limits=around.settings.limits,
            admit=admit,
            on_evicted=lambda _: self._give_way(feed),
            protocol="hls pull",
        )
        parts = urlsplit(self._config.url.reveal())
        feed.address, feed.encrypted = parts.hostname or "", parts.scheme == "https"
        if self._checking is None:
            self._check()
        return feed

    def _give_way(self, feed: SegmentFeed) -> None:
        """Somebody else has the channel, or it is gone."""
        if feed is self._feed and not self._evicted.done():
            self._evicted.set_exception(taken())

    def _check(self) -> None:
        if self._feed is not None:
            self._feed.check(self._loop.time())
        self._checking = self._loop.call_later(CHECK_S, self._check)

    async def _goodbye(self) -> None:
        """The source has ended: so does the stream, once all of it is kept and shown."""
        feed, lease = self._feed, self._around.hub.lease(self._channel)
        if feed is not None:
            feed.end(clean=True)
            while True:
                if lease is None or lease.publisher is not feed or not lease.current:
                    break
                await asyncio.sleep(CHECK_S)
        self._drop_feed()
        for position in self._positions.values():
            position.begin()

    def _drop_feed(self) -> None:
        """Let go of the channel; the stream is held, unless the source is not wanted any more."""
        feed, self._feed = self._feed, None
        for task in self._puts:
            task.cancel()
        if self._checking is not None:
            self._checking.cancel()
            self._checking = None
        if feed is None:
            return
        lease = self._around.hub.lease(self._channel)
        if self._leaving and lease is not None and lease.publisher is feed:
            lease.release(clean=True)
        feed.end(clean=False)
