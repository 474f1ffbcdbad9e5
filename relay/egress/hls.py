"""One attempt at an HLS destination: the stream cut into segments, uploaded in order, a playlist after each."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from relay.config import Settings
from relay.egress.base import DestinationConfig, DestinationTotals, Owner
from relay.egress.hls_address import upload_url
from relay.egress.hls_courier import PLAYLIST, Courier
from relay.egress.hls_queue import Lane, Outbox
from relay.egress.hls_segments import TsMuxer, check_codecs
from relay.errors import DestinationError, MediaError
from relay.hub import BacklogLimit, Batch, Stream, Subscription
from relay.outbound.dial import TlsContext
from relay.outbound.http import http_session

GOODBYE_S = 3.0
# Of all destinations: many that close a segment at the same keyframe take turns, and leave the event loop its own.
_MUXING = ThreadPoolExecutor(2, "hls-mux")
log = structlog.get_logger("relay.egress.hls")


class HlsAttempt:
    """Runs as long as the stream does: a platform that is away is waited for, with all media kept, within limits.

    What is not delivered stays in the destination's Outbox (DestinationTotals.kept), where the next attempt goes on.
    """

    def __init__(
        self,
        config: DestinationConfig,
        stream: Stream,
        settings: Settings,
        totals: DestinationTotals,
        owner: Owner,
        tls: TlsContext,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._stream = stream
        self._settings = settings
        self._totals = totals
        self._owner = owner
        self._tls = tls
        limits = settings.limits
        limit = BacklogLimit(int(limits.late_s * 1000), limits.late_bytes)
        outbox = totals.kept if isinstance(totals.kept, Outbox) else Outbox(limit)
        totals.kept = self._outbox = outbox
        self._lanes: list[Lane] = []
        self._changed = asyncio.Event()  # for the maker
        self._limit = asyncio.timeout(None)
        self._failure: Exception | None = None
        self._is_running = False
        self._is_live = False
        self._is_leaving = False
        self._is_over = False  # the stream is
        self._is_made = False  # the last segment is in the lanes
        self._log = log.bind(channel=stream.name, destination=config.name)
        self.subscription: Subscription | None = None
        self.backlog_ms = self.dropped = self.unsent = 0  # the outbox knows

    # --- egress.base.Attempt ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until the stream ends (returns) or the platform refuses for good (DestinationRejectedError)."""
        config = self._config
        key = config.key.reveal()
        addresses = [partial(upload_url, url, key) for url in (config.url, config.backup) if url]
        is_tls = any(address(PLAYLIST).scheme == "https" for address in addresses)
        context = await self._tls() if is_tls else None
        tasks: list[asyncio.Task[None]] = []
        async with http_session(self._settings, context, connections=len(addresses)) as session:
            try:
                async with self._limit:
                    self._is_running = True
                    self._join()
                    couriers = []
                    for lane, address in zip((self._outbox.primary, self._outbox.backup), addresses, strict=False):
                        lane.aim(address(PLAYLIST))
                        courier = Courier(
                            lane,
                            address,
                            config,
                            session,
                            self._settings.limits,
                            self,
                            channel=self._stream.name,
                            is_backup=lane is self._outbox.backup,
                        )
                        couriers.append(courier)
                    self._lanes = [courier.lane for courier in couriers]
                    tasks = [asyncio.create_task(work) for work in (self._make(), *(each.run() for each in couriers))]
                    for task in asyncio.as_completed(tasks[:2]):
                        await task
                    await asyncio.wait(tasks, timeout=GOODBYE_S)  # the backup has no more time than this
            except TimeoutError:
                if not self._limit.expired():
                    raise
                self._log.warning("not everything was delivered in time")
            finally:
                self._is_running = False
                if self.subscription is not None:
                    self.subscription.close()
                    self.subscription = None
                for task in tasks:
                    task.cancel()
                for fault in (await asyncio.gather(*tasks, return_exceptions=True))[2:]:
                    if isinstance(fault, Exception):
                        self._log.error("backup failed", reason=type(fault).__name__, exc_info=fault)
                # Errors lead to frames, and these to the attempt, its tasks and the media in their hands: without a way
                # back all of it is gone at once, not when the collector comes round.
                tasks.clear()
                self._limit = asyncio.timeout(None)

    def say_goodbye(self) -> bool:
        """Deliver what there is within GOODBYE_S, and end the playlist unless another attempt follows."""
        if not (self._is_over or self._outbox.primary.has_playlist):
            return False
        return self._leave(GOODBYE_S)

    def finish(self) -> bool:
        """The stream is over: what is late may still be delivered for as long as it would be kept."""
        self._is_over = True
        return self._leave(self._settings.limits.late_s)

    def _leave(self, within_s: float) -> bool:
        if not self._is_running:
            return False
        until = asyncio.get_running_loop().time() + within_s
        before = self._limit.when()
        if before is None or until < before:
            self._limit.reschedule(until)
        self._is_leaving = True
        self._wake()
        return True

    def _wake(self) -> None:
        self._changed.set()
        for lane in self._lanes:
            lane.changed.set()

    # --- hub.Reader -------------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        if self._is_leaving or self._failure is not None:
            return
        try:
            check_codecs(batch.closing)
            self._outbox.pieces += self._outbox.segmenter.feed(batch)
        except MediaError as error:
            self._failure = DestinationError(str(error), "config")
        self._changed.set()

    def ended(self, error: Exception | None) -> None:
        if error is None:
            self.finish()
        else:
            self._failure = error
            self._changed.set()

    # --- making segments --------------------------------------------------------------------------------------------

    def _join(self) -> None:
        outbox = self._outbox
        outbox.segmenter.join(is_same=outbox.source is self._stream)
        outbox.source = self._stream
        self.subscription = self._stream.subscribe(self)

    async def _make(self) -> None:
        """Turn pieces into segments, until the last one is in the lanes."""
        muxer = TsMuxer()
        try:
            await self._make_with(muxer)
        finally:
            muxer.close()
        self._is_made = True
        self._wake()

    async def _make_with(self, muxer: TsMuxer) -> None:
        outbox = self._outbox
        while True:
            while outbox.pieces:
                try:
                    data = await self._loop.run_in_executor(_MUXING, muxer.mux, outbox.pieces[0])
                except MediaError as error:
                    outbox.lose()
                    self.troubled(outbox.primary, DestinationError(str(error), "media"))
                    continue
                segment = outbox.segment(data)
                for lane in self._lanes:
                    lane.add(segment)
            if self._failure is not None:
                raise self._failure
            if self._is_leaving:
                goes_on = self.is_followed and not self._is_over  # with this very stream
                rest = None if goes_on else outbox.segmenter.flush()
                if rest is not None:
                    outbox.pieces.append(rest)
                    continue
                if not goes_on:
                    outbox.source = None
                break
            await self._changed.wait()
            self._changed.clear()

    # --- egress.hls_courier.Sender ----------------------------------------------------------------------------------

    @property
    def is_made(self) -> bool:
        return self._is_made

    @property
    def is_followed(self) -> bool:
        return self._is_leaving and self._owner.goes_on()

    def sent(self, count: int) -> None:
        self._totals.bytes_sent += count

    def live(self, lane: Lane) -> None:
        if lane is self._outbox.primary and not self._is_live:
            self._is_live = True
            self._owner.live()

    def troubled(self, lane: Lane, error: DestinationError) -> None:
        if lane is self._outbox.primary:
            self._is_live = False
            self._owner.troubled(error)
