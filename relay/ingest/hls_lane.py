"""One media playlist of an HLS source, followed: reloaded at its pace, segments fetched ahead, handed on in order."""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import structlog

from relay.config import LimitSettings
from relay.errors import AddressError, DestinationError, DestinationRejectedError, MediaError, ProtocolError
from relay.ingest import segment as pieces
from relay.ingest.hls_fetch import KEY_BYTES, Fetched, Fetcher, GoneError, decrypted
from relay.ingest.hls_position import PARTS_MOST, Position, Unit
from relay.ingest.source import YIELDED
from relay.protocol.m3u8 import Init, Key, MediaPlaylist, parse, resolve
from relay.supervise import Backoff

log = structlog.get_logger("relay.ingest.pull")

PARTS = "-parts"  # behind the name of a playlist that is taken in parts
PLACES = PARTS_MOST + 1  # numbers of one segment then: the first is for all of it, the others for its parts
PARTS_UNDER_WAY = 16  # handed on, and not durable yet
AHEAD = 3  # segments that are being fetched, or wait for those before them
LEAST_RELOAD_S, LEAST_PART_RELOAD_S = 0.5, 0.1
LEAST_TRY_S = 5.0
RELOAD_FOR_S = 10.0
GONE_TRIES = 3
_AGAIN = Backoff(0.5, 2.0)  # between tries of one segment
LOST_IN_A_ROW = 3
UNSHOWN_MS = 6000  # what is taken faster than it is shown waits beyond this, where waiting loses nothing
MISSED_MOST = 30
JOBS_MOST = 1000
INIT_BYTES = 1024 * 1024
_REMEMBERED = 8


class Taker(Protocol):
    """Whom the segments are handed to."""

    async def put(self, segment: pieces.Segment) -> None:
        """Take one; returns once it is durable. Raises MediaError or DestinationError."""

    def missing(self, numbers: range, track: str) -> None:
        """These will not come."""

    def restart(self) -> None:
        """The source begins anew: what comes now has other numbers and times."""

    @property
    def unshown_ms(self) -> int:
        """Media time taken that is yet to be shown."""


class Job(NamedTuple):
    """What is to be fetched, by ``until`` (loop seconds). ``base``: its playlist's URL. ``waits``: it can.

    ``restarts``: the source counts anew from here.
    """

    unit: Unit
    base: str
    until: float
    waits: bool
    restarts: bool


class Handed(NamedTuple):
    """What was handed on with ``nbytes``, and is not durable yet."""

    job: Job
    nbytes: int
    putting: "asyncio.Task[None]"


class Lane:
    """``run`` returns when the playlist has ended and all of it is handed on; it may be run again to see it go on."""

    def __init__(
        self,
        url: str,
        name: str,
        position: Position,
        fetcher: Fetcher,
        taker: Taker,
        limits: LimitSettings,
        channel: str,
    ) -> None:
        self._log = log.bind(channel=channel, playlist=name)
        self._url = url
        self._playlist_name = name
        self._begin(in_parts=False)
        self._position = position
        self._fetcher = fetcher
        self._taker = taker
        self._limits = limits
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._jobs: asyncio.Queue[Job | None] = asyncio.Queue()
        self._known: OrderedDict[tuple[str, object], bytes] = OrderedDict()  # keys and init segments
        self._lost_in_a_row = 0

    async def run(self) -> None:
        """Follow the playlist to its end. Raises DestinationError where it fails for longer than it may."""
        self._jobs = asyncio.Queue()
        tasks = (asyncio.create_task(self._reload()), asyncio.create_task(self._deliver()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, *, in_parts: bool) -> None:
        """Segments are taken whole, or those that are coming in their parts; numbers mean something else then."""
        self._in_parts = in_parts
        self._name = self._playlist_name + PARTS * in_parts
        self._track, _ = pieces.split_name(f"{self._name}/0")
        self._last: int | None = None  # number that was handed on

    def _number(self, unit: Unit) -> int:
        number = unit.segment.sequence
        return number * PLACES + (0 if unit.part is None else unit.part + 1) if self._in_parts else number

    # --- the playlist -----------------------------------------------------------------------------------------

    async def _reload(self) -> None:
        """Look at the playlist again and again until it has ended."""
        validators: dict[str, str] = {}
        playlist: MediaPlaylist | None = None
        failing_since: float | None = None
        grown_at = self._clock()
        is_held = False
        while True:
            asked_at = self._clock()
            if self._jobs.qsize() > JOBS_MOST:  # nobody needs to know of more
                grown_at = asked_at
                await asyncio.sleep(LEAST_RELOAD_S)
                continue
            target_s = 2.0 if playlist is None else min(playlist.target_s, self._limits.hls_segment_s)
            has_grown = False
            try:
                fetched = await self._ask(playlist, target_s, {} if is_held else validators, is_held=is_held)
                if fetched is not None:
                    before, playlist = playlist, await self._read(fetched)
                    if before is None:
                        self._begin(in_parts=_has_parts(playlist))
                    validators = dict(fetched.validators)
                    has_grown = self._look(playlist, fetched.url)
                failing_since = None
            except DestinationRejectedError:
                raise
            except DestinationError:
                failing_since = asked_at if failing_since is None else failing_since
                if self._clock() - failing_since >= max(RELOAD_FOR_S, 3 * target_s) or playlist is None:
                    raise
            now = self._clock()
            if has_grown:
                grown_at = now
            if playlist is not None and playlist.is_ended:
                self._jobs.put_nowait(None)
                return
            if now - grown_at > max(3 * target_s, self._limits.media_closed_s):
                raise DestinationError(f"the playlist has not grown for {now - grown_at:.0f} s", "silent")
            # RFC 8216 §6.3.4: a target duration after a change, half of one after none.
            wait_s = max(LEAST_RELOAD_S, target_s if has_grown else target_s / 2)
            if self._in_parts and playlist is not None and failing_since is None:
                wait_s = max(LEAST_PART_RELOAD_S, min(playlist.part_target_s, wait_s))
            # A server that holds its answer until there is something new can be asked for that at once.
            is_held = playlist is not None and playlist.can_block and has_grown
            if is_held:
                wait_s = LEAST_PART_RELOAD_S if self._in_parts else LEAST_RELOAD_S
            if failing_since is not None:
                wait_s *= random.uniform(0.5, 1.0)
            await asyncio.sleep(max(0.0, asked_at + wait_s - now))

    async def _ask(
        self, playlist: MediaPlaylist | None, target_s: float, validators: dict[str, str], *, is_held: bool
    ) -> Fetched | None:
        limits, url, patience_s = self._limits, self._url, self._limits.http_deadline_s
        if is_held and playlist is not None:
            # 8216bis §6.2.5.2: the server answers once the segment, or its part, is there.
            url += f"{'&' if '?' in url else '?'}_HLS_msn={playlist.next_sequence}"
            if self._in_parts:
                url += f"&_HLS_part={0 if playlist.coming is None else len(playlist.coming.parts)}"
            patience_s += 3 * target_s
        return await self._fetcher.get(
            url, limits.hls_playlist_bytes, patience_s, validators=validators, silence_s=patience_s
        )

    async def _read(self, fetched: Fetched) -> MediaPlaylist:
        most = self._limits.hls_playlist_bytes
        try:
            # A long one takes a tenth of a second, which nobody else shall wait for.
            found = (
                (await asyncio.to_thread(parse, fetched.data, most))
                if len(fetched.data) > 16384
                else parse(fetched.data, most)
            )
        except ProtocolError as error:
            raise DestinationError(str(error), "protocol") from error
        if not isinstance(found, MediaPlaylist):
            raise DestinationError("the playlist of a variant is a list of variants again", "protocol")
        return found

    def _look(self, playlist: MediaPlaylist, base: str) -> bool:
        """Queue what is new; whether anything is."""
        now = self._clock()
        look = self._position.look(playlist, now, in_parts=self._in_parts)
        if look.missed:
            first = look.units[0].segment.sequence if look.units else playlist.next_sequence
            self._log.warning("segments left the playlist before they were seen", count=look.missed)
            places = PLACES if self._in_parts else 1
            missed = range((first - min(look.missed, MISSED_MOST)) * places, first * places)
            self._taker.missing(missed, self._track)
        # A segment can be fetched for as long as it is listed, and a playlist's length after that (§6.2.2).
        window_s = max(sum(item.duration_s for item in playlist.segments), 3 * playlist.target_s)
        patience_s = max(LEAST_TRY_S, min(window_s, 5 * self._limits.hls_segment_s) - playlist.target_s)
        waits = bool(playlist.kind) or playlist.is_ended
        restarts = look.has_restarted
        for unit in look.units:
            self._jobs.put_nowait(Job(unit, base, now + patience_s, waits, restarts))
            restarts = False
        return bool(look.units)

    # --- segments ---------------------------------------------------------------------------------------------

    async def _deliver(self) -> None:
        """Hand on what is queued, in order, fetching a little ahead."""
        ahead: deque[tuple[Job, asyncio.Task[pieces.Segment]]] = deque()
        handed: deque[Handed] = deque()
        is_over = False
        try:
            while True:
                while not is_over and len(ahead) < AHEAD and not (ahead and self._jobs.empty()):
                    job = await self._jobs.get()
                    if job is None:
                        is_over = True
                    else:
                        ahead.append((job, asyncio.create_task(self._load(job))))
                if not ahead:
                    await self._hear(handed, 0)
                    return
                await self._hand_on(*ahead[0], handed)
                ahead.popleft()
        finally:
            tasks = [*(task for _, task in ahead), *(item.putting for item in handed)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hand_on(self, job: Job, loading: "asyncio.Task[pieces.Segment]", handed: deque[Handed]) -> None:
        """Hand on what ``loading`` brings, and add that to ``handed``; parts do not wait for the disk one by one."""
        while True:
            if not job.waits or self._taker.unshown_ms <= UNSHOWN_MS:
                break
            await asyncio.sleep(LEAST_RELOAD_S / 2)
        if job.restarts:
            await self._hear(handed, 0)
            self._log.info("the source counts its segments anew")
            self._taker.restart()
            self._last = None
        try:
            segment = await loading
        except (MediaError, ProtocolError, DestinationError) as error:
            self._lost(job.unit, error)
            return
        if self._in_parts and self._last is not None and segment.number > self._last + 1:
            # Segments have fewer parts than they have numbers: nobody shall wait for the others.
            self._taker.missing(range(self._last + 1, segment.number), self._track)
        self._last = segment.number
        if job.unit.part is not None:
            self._position.settled(job.unit)  # it goes its way, whatever becomes of us
        handed.append(Handed(job, len(segment.data), asyncio.create_task(self._taker.put(segment))))
        await self._hear(handed, 0 if job.unit.part is None else PARTS_UNDER_WAY)

    async def _hear(self, handed: deque[Handed], most: int) -> None:
        """What became of those handed on, until at most so many are under way, and no more than a segment may hold."""
        most_bytes = self._limits.hls_segment_bytes
        while handed:
            is_few = len(handed) <= most and sum(item.nbytes for item in handed) <= most_bytes
            if is_few and not handed[0].putting.done():
                return
            unit = handed[0].job.unit
            try:
                await handed[0].putting
            except (MediaError, ProtocolError, DestinationError) as error:
                self._lost(unit, error)
            else:
                if unit.part is None:
                    self._position.settled(unit)
                self._lost_in_a_row = 0
            handed.popleft()

    def _lost(self, unit: Unit, reason: Exception) -> None:
        """This one will not come. A row of them is a source that does not work."""
        error = reason if isinstance(reason, DestinationError) else DestinationError(str(reason), "media")
        if error.outcome == YIELDED:
            raise error
        number = self._number(unit)
        self._position.settled(unit)
        if not unit.segment.is_gap:
            self._log.warning("segment lost", number=unit.segment.sequence, part=unit.part, reason=str(error))
            self._lost_in_a_row += 1
        self._taker.missing(range(number, number + 1), self._track)
        if self._lost_in_a_row >= LOST_IN_A_ROW:
            self._lost_in_a_row = 0
            raise error

    async def _load(self, job: Job) -> pieces.Segment:
        """The segment, tried for as long as it may be there. Raises DestinationError or ProtocolError."""
        segment, part = job.unit.segment, job.unit.part
        item = segment if part is None else segment.parts[part]
        if segment.is_gap or item.is_gap:
            raise DestinationError("the playlist says it is missing (EXT-X-GAP)", "gap")
        if item.duration_s > self._limits.hls_segment_s + 0.5:
            most_s = self._limits.hls_segment_s
            raise DestinationError(f"a segment of {item.duration_s:.1f} s; {most_s:g} s are allowed", "too_large")
        tries = 0
        while True:
            tries += 1
            try:
                return await self._once(job)
            except DestinationError as error:
                is_final = error.outcome in _FINAL or isinstance(error, AddressError | DestinationRejectedError)
                if is_final or (isinstance(error, GoneError) and tries >= GONE_TRIES) or self._clock() >= job.until:
                    raise
            await asyncio.sleep(_AGAIN.wait_s(tries, rejected=False, uniform=random.uniform))

    async def _once(self, job: Job) -> pieces.Segment:
        segment, part, limits = job.unit.segment, job.unit.part, self._limits
        item = segment if part is None else segment.parts[part]
        within_s = max(LEAST_TRY_S, job.until - self._clock())
        found = await self._fetcher.get(
            resolve(job.base, item.uri), limits.hls_segment_bytes, within_s, byte_range=item.byte_range
        )
        assert found is not None  # no validators were given
        data = await self._plain(found.data, segment.key, job.base)
        if data.startswith(b"#EXTM3U"):
            raise ProtocolError("the playlist names another playlist where a segment should be")
        init = b"" if segment.init is None else await self._init(segment.init, job.base)
        number = self._number(job.unit)
        is_discontinuity = segment.is_discontinuity and not part
        return pieces.Segment(number, f"{self._name}/{number}", data, init, is_discontinuity, self._track)

    async def _plain(self, data: bytes, key: Key | None, base: str) -> bytes:
        if key is None:
            return data
        url = resolve(base, key.uri)
        secret = self._known.get((url, None))
        if secret is None:
            found = await self._fetcher.get(url, KEY_BYTES, self._limits.http_deadline_s)
            assert found is not None
            self._keep((url, None), secret := found.data)
        return await asyncio.to_thread(decrypted, data, secret, key.iv)

    async def _init(self, init: Init, base: str) -> bytes:
        url = resolve(base, init.uri)
        known = self._known.get((url, init))
        if known is None:
            limits = self._limits
            found = await self._fetcher.get(url, INIT_BYTES, limits.http_deadline_s, byte_range=init.byte_range)
            assert found is not None
            known = await self._plain(found.data, init.key, base)
            self._keep((url, init), known)
        return known

    def _keep(self, name: tuple[str, object], content: bytes) -> None:
        self._known[name] = content
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _has_parts(playlist: MediaPlaylist) -> bool:
    """Whether it lists parts that can be read one by one: those of fragmented MP4, in the clear."""
    newest = playlist.coming or (playlist.segments[-1] if playlist.segments else None)
    is_live = not playlist.kind and not playlist.is_ended
    return is_live and playlist.part_target_s > 0 and newest is not None and newest.init is not None and not newest.key


_FINAL = frozenset({"too_large", "compressed", "redirect", "protocol", "config"})
