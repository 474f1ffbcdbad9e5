"""SegmentFeed: one channel's HLS publisher: segments in any order in, packets on the stream out, each kept once."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from relay.config import LimitSettings
from relay.errors import MediaError, ProtocolError, RefusedError
from relay.hub import Hub, Lease
from relay.ingest.base import PublisherInfo
from relay.ingest.demux import Demuxed, Demuxer
from relay.ingest.known import Known
from relay.ingest.order import Ending, Lane, Piece, Turns
from relay.ingest.segment import Backfill, Key, Notes, Outcome, Segment, key_of, split_name
from relay.ingest.segment_clock import FixedClock, SegmentClock, in_order
from relay.media import Packet
from relay.media.timeline import Clock
from relay.protocol.flv import Depacketizer

DURABLE_S = 30.0  # for how long a segment waits for the disk before its sender is told to come again
LANES_MOST = 8
FORGET_S = 15.0  # from the end of a stream until the same segments again are a new one
_MOST_ENDING_S = 30.0

log = structlog.get_logger("relay.ingest.hls")


class SegmentFeed:
    """hub.Publisher for everything one HLS publisher sends to ``channel``, until the channel is gone.

    Takes the lease with the first segment that is media, and takes it anew when the encoder starts again.

    ``uploading``: how many uploads for this channel are under way, those that ``put`` has yet to answer included; the
    door counts.
    ``admit`` raises RefusedError where the channel may not be had; ``on_evicted`` is told when it went elsewhere.
    """

    def __init__(
        self,
        hub: Hub,
        channel: str,
        *,
        demuxer: Demuxer,
        notes: Notes,
        backfill: Backfill,
        limits: LimitSettings,
        admit: Callable[[str], None] | None = None,
        on_evicted: Callable[[str], None] = lambda _: None,
        protocol: str = "hls",
    ) -> None:
        self.channel = channel
        self.uploading = 0
        self.bytes_received = 0
        self.address = self.encoder = ""
        self.rtt_s: float | None = None
        self.encrypted = False
        self._hub = hub
        self._demuxer = demuxer
        self._notes = notes
        self._backfill = backfill
        self._limits = limits
        self._admit = admit or hub.admit
        self._on_evicted = on_evicted
        self._protocol = protocol
        self._lease: Lease | None = None
        self._renewing = False
        self._connected_at = time.time()
        self._clock = SegmentClock()
        self._depacketizer = Depacketizer(self._clock)
        self._lanes: dict[str, Lane] = {}
        self._known = Known()
        self._unnumbered: Counter[str] = Counter()  # how many came without a number
        self._turns = Turns()
        self._learning = asyncio.Lock()
        self._has_learnt = False
        self._released_at = float("inf")
        self._awaiting: deque[tuple[int, asyncio.Future[None]]] = deque()  # (stream seq, told when it is durable)
        self._media_at = 0.0  # loop time of the last segment that went to the stream
        self._length_ms = 0
        self._stalled = False
        self._ending: Ending | None = None

    # --- a segment --------------------------------------------------------------------------------------------------

    async def put(self, segment: Segment) -> Outcome:
        """Take one segment; returns once it is durable, or was before.

        Raises MediaError (not media, too large, too long), LimitError (too busy), RefusedError (the channel is
        contested or went elsewhere, the segment is too late, the disk does not take it). May be cancelled: the segment
        goes its way all the same.
        """
        if self._lease is None and asyncio.get_running_loop().time() - self._released_at > FORGET_S:
            self._known.forget()
        key = key_of(segment)
        task, is_known = self._known.once(key, lambda: self._take(segment, key))
        ending = self._ending
        if not is_known and ending is not None and (segment.track, segment.number) > (ending.track, ending.number):
            self._ending = None  # it goes on after all
        try:
            async with asyncio.timeout(DURABLE_S + self._limits.hls_window_s):
                outcome = await asyncio.shield(task)
        except TimeoutError as error:
            raise RefusedError("not_durable", "the disk has not taken this segment yet; send it again") from error
        return Outcome.KNOWN if is_known else outcome

    async def _take(self, segment: Segment, key: Key) -> Outcome:
        if segment.number < 0:
            segment = replace(segment, number=self._unnumbered[segment.track])
            self._unnumbered[segment.track] += 1
        async with self._turns.turn() as turn:
            async with self._learning:
                if not self._has_learnt:
                    await self._learn()
            read = await self._demuxer.demux(segment.data, segment.init)
            await turn  # what is decided next, up to where it waits, is decided before anything that came later
        piece = Piece(segment, key, read, asyncio.get_running_loop().create_future())
        kept = self._known.kept(key)
        return await (self._arrange(piece) if kept is None else self._go_on(piece, kept))

    async def _learn(self) -> None:
        """What an earlier run of the relay has on disk: those segments are known, and numbers go on behind them."""
        for key in self._known.learn(await self._notes(self.channel)):
            track, number = split_name(key.name)
            if number >= 0:
                self._lane(track).next = number + 1  # of the last run of the encoder, where there were several
        self._has_learnt = True

    async def _go_on(self, piece: Piece, kept: int) -> Outcome:
        """A segment that an earlier run kept, whole or its first ``kept`` packets."""
        clock = FixedClock(self._clock.media_ms(piece.read) + (self._clock.offset_ms or 0))
        packets = self._packets(piece.read, clock, Depacketizer(clock))
        if kept >= len(packets):
            return Outcome.KNOWN
        if self._clock.offset_ms is not None:  # what comes after it was here before
            await self._fill(packets[kept:], piece)
            return Outcome.BACKFILLED
        self._write(self._lane(piece.segment.track), piece, 0, skip=kept)
        await piece.done
        return Outcome.STORED

    # --- its place --------------------------------------------------------------------------------------------------

    def _lane(self, track: str) -> Lane:
        lane = self._lanes.get(track)
        if lane is None:
            while len(self._lanes) >= LANES_MOST:
                del self._lanes[next(iter(self._lanes))]
            lane = self._lanes[track] = Lane(self._limits)
        return lane

    async def _arrange(self, piece: Piece) -> Outcome:
        lane = self._lanes.get(piece.segment.track)
        if lane is None:
            if any(other.kinds & piece.kinds for other in self._lanes.values()):
                self._begin_run(piece)  # another encoder, or other settings
            lane = self._lane(piece.segment.track)
        now = asyncio.get_running_loop().time()
        if lane.next is not None and piece.number < lane.next:
            start_ms = lane.place_of_late(piece, self._clock, now)
            if start_ms is not None:
                return await self._late(lane, piece, start_ms)
            self._begin_run(piece)
            lane = self._lane(piece.segment.track)
        lane.add(piece, now)
        self._flow(lane)
        await piece.done
        return Outcome.STORED

    def _flow(self, lane: Lane) -> None:
        """Write what is in order, and what has waited long enough for what is not there."""
        now = asyncio.get_running_loop().time()
        others = self.uploading - sum(map(len, self._lanes.values()))
        while (due := lane.pop(now, others, lambda piece: self._clock.gap_ms(piece.read, lane.end))) is not None:
            piece, missing = due
            try:
                self._write(lane, piece, missing)
            except (RefusedError, MediaError) as error:
                if isinstance(error, MediaError):
                    lane.passed(piece)
                piece.fail(error)
        lane.look_again(now, others, lambda: self._flow(lane))

    def missing(self, numbers: Iterable[int], track: str = "") -> None:
        """Segments that will not come, as a playlist says: nobody waits for them."""
        lane = self._lane(track)
        lane.skip(numbers)
        self._flow(lane)

    async def _late(self, lane: Lane, piece: Piece, start_ms: int) -> Outcome:
        clock = FixedClock(start_ms)
        await self._fill(self._packets(piece.read, clock, self._copy(clock)), piece)
        lane.filled(piece.number)
        return Outcome.BACKFILLED

    async def _fill(self, packets: list[Packet], piece: Piece) -> None:
        """Put packets into their place in the recording. Raises RefusedError where there is none."""
        if not await self._backfill(self.channel, packets, piece.key.note()):
            raise RefusedError("late", "this segment came too late: there is no place for it in the recording any more")
        log.info("late segment put into its place", channel=self.channel, number=piece.number)

    # --- onto the stream --------------------------------------------------------------------------------------------

    def _packets(self, read: Demuxed, clock: Clock, depacketizer: Depacketizer) -> list[Packet]:
        """The packets of a segment that begins where ``clock`` says. Raises MediaError where there are none."""
        try:
            found = [depacketizer.feed(tag.type_id, tag.timestamp, tag.body) for tag in read.tags]
        except ProtocolError as error:
            raise MediaError(f"the segment cannot be read: {error}") from error
        packets = [packet for packet in found if packet is not None]
        if not packets:
            raise MediaError("the segment cannot be read: nothing in it can be decoded without a keyframe before it")
        return in_order(packets)

    def _copy(self, clock: Clock) -> Depacketizer:
        """A depacketizer that knows the tracks in force and changes nothing for those that follow."""
        copy = Depacketizer(clock)
        copy.adopt(self._depacketizer)
        return copy

    def _write(self, lane: Lane, piece: Piece, missing: int, skip: int = 0) -> None:
        """Put a segment onto the stream, behind ``missing`` that are not there. Raises RefusedError, MediaError."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        lease = self._lease or self._acquire()
        read, clock = piece.read, self._clock
        ended_ms, offset_ms = lane.end.at_ms, clock.offset_ms
        start_ms = clock.begin(
            read,
            lane.end,
            origin_ms=self._origin_ms(lease, read),
            is_discontinuity=piece.segment.is_discontinuity,
            missing=missing,
            waited_ms=int((now - self._media_at) * 1000),
        )
        packets = self._packets(read, clock, self._depacketizer)[skip:]
        lane.written(piece, start_ms, ended_ms, (offset_ms, clock.offset_ms))
        if not self._media_at or self._stalled:
            log.info("live", channel=self.channel, address=self.address, encoder=self.encoder)
        self._media_at, self._length_ms, self._stalled = now, read.length_ms, False
        if missing:
            log.warning("segments are missing", channel=self.channel, count=missing, before=piece.number)
        seq = lease.keep(packets, piece.key.note(), missing)
        if lease.stream.durable_seq >= seq:
            if not piece.done.done():
                piece.done.set_result(None)
        else:
            self._awaiting.append((seq, piece.done))

    def _origin_ms(self, lease: Lease, read: Demuxed) -> int:
        """Where a new lease's first segment begins: it arrives when it is over, so its start is that much earlier."""
        if self._clock.offset_ms is not None:
            return 0  # not asked for
        lease.timeline.arrived(int(asyncio.get_running_loop().time() * 1000))
        origin_ms = lease.timeline.place(self._clock.media_ms(read) & 0xFFFFFFFF, is_video=True)
        last_ms = lease.stream.last_dts_ms
        return origin_ms if last_ms is None else max(last_ms + 1, origin_ms - read.length_ms)

    def _acquire(self, *, is_admitted: bool = False) -> Lease:
        """Take the channel, from whoever has it. Raises RefusedError."""
        if not is_admitted:
            self._admit(self.channel)
        self._renewing = True
        try:
            self._lease = lease = self._hub.publish(self.channel, self)
        finally:
            self._renewing = False
        self._connected_at = time.time()
        self._clock = SegmentClock()
        self._depacketizer = self._copy(self._clock)
        for lane in self._lanes.values():
            lane.end.at_ms = None
        log.info(
            "publishing", channel=self.channel, address=self.address, encoder=self.encoder, protocol=self._protocol
        )
        return lease

    def _begin_run(self, piece: Piece) -> None:
        """The encoder has started anew, or another one has: numbers and clocks of before mean nothing any more.

        Raises RefusedError, and changes nothing then.
        """
        self._admit(self.channel)
        log.info("the encoder starts anew", channel=self.channel, name=piece.segment.name[-80:])
        for lane in self._lanes.values():
            lane.hurry()
            self._flow(lane)
            self._drop(RefusedError("replaced", "the encoder has started anew"))
        self._lanes.clear()
        self._unnumbered.clear()
        self._acquire(is_admitted=True)

    # --- hub.Publisher ----------------------------------------------------------------------------------------------

    def committed(self, seq: int) -> None:
        """Packets up to ``seq`` are on disk."""
        awaiting = self._awaiting
        while awaiting and awaiting[0][0] <= seq:
            done = awaiting.popleft()[1]
            if not done.done():
                done.set_result(None)

    def evicted(self, reason: str) -> None:
        """The lease went elsewhere: uploads that wait are told so; what the stream has is kept all the same."""
        if self._renewing:
            return
        self._lease, self._released_at = None, asyncio.get_running_loop().time()
        self._drop(RefusedError("taken_over", reason))
        self._on_evicted(reason)

    def _drop(self, error: RefusedError) -> None:
        for lane in self._lanes.values():
            for piece in lane.drop():
                piece.fail(error)

    def _look_for_commits(self) -> None:
        """Without a lease nobody tells: what was given to the stream before becomes durable all the same."""
        stream = self._hub.streams.get(self.channel)
        if stream is not None and not stream.is_losing:
            self.committed(stream.durable_seq)
            return
        error = RefusedError("not_durable", "the disk did not take this segment; send it again")
        if stream is None:
            error = RefusedError("ended", "the channel is gone")
        while self._awaiting:
            done = self._awaiting.popleft()[1]
            if not done.done():
                done.set_exception(error)

    # --- endings ----------------------------------------------------------------------------------------------------

    def end(self, *, clean: bool, after: tuple[str, int] = ("", -1)) -> None:
        """No more will come. ``clean``: the encoder said so; the stream ends once all of it is durable and shown.

        ``after``: track and number of the last segment, which may be still to come; an earlier run's end is none.
        """
        if not clean:
            self._release(clean=False)
        elif self._lease is not None:
            lane = self._lanes.get(after[0])
            if lane is None or after[1] < 0 or after[1] >= (lane.next or 0) - 1:
                self._ending = Ending(asyncio.get_running_loop().time(), *after)

    def _release(self, *, clean: bool) -> None:
        lease, self._lease = self._lease, None
        self._ending, self._released_at = None, asyncio.get_running_loop().time()
        if lease is not None:
            lease.release(clean=clean)
            self._drop(RefusedError("ended", "the stream has ended; send the segment again"))

    @property
    def is_busy(self) -> bool:
        """Whether anything of it is still on its way, to the disk or to the screens."""
        lease = self._lease
        return bool(self._awaiting) or self.uploading > 0 or (lease is not None and lease.unshown_ms > 0)

    def check(self, now: float) -> None:
        """Deadlines, twice a second; ``now`` in loop seconds."""
        lease = self._lease
        if lease is None:
            if self._awaiting:
                self._look_for_commits()
            return
        if self._ending is not None:
            lane = self._lanes.get(self._ending.track)
            is_all_here = lane is None or (lane.next or 0) > self._ending.number
            waited_s = now - self._ending.since
            if waited_s > _MOST_ENDING_S or (is_all_here and not self.is_busy):
                log.info("publisher said goodbye", channel=self.channel, address=self.address)
                self._release(clean=True)
            return
        silent_s = now - self._media_at - self._length_ms / 1000
        if silent_s > self._limits.media_closed_s:
            log.info("no more segments", channel=self.channel, address=self.address)
            self._release(clean=False)
        elif silent_s > self._limits.media_stalled_s and not self._stalled and lease.unshown_ms == 0:
            self._stalled = True
            log.warning("stalled: no segments", channel=self.channel)
            lease.stalled()

    def info(self) -> PublisherInfo:
        return PublisherInfo(
            protocol=self._protocol,
            address=self.address,
            encoder=self.encoder,
            encrypted=self.encrypted,
            connected_at=self._connected_at,
            bytes_received=self.bytes_received,
            rtt_s=self.rtt_s,
        )
