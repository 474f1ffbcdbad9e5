"""HLS push door: encoders upload segments and playlists by PUT or POST; the answer says that the bytes are on disk."""

import asyncio
import contextlib
from collections import Counter
from urllib.parse import parse_qs, unquote

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from relay.budget import ConnectionBudget
from relay.certificates import Certificate
from relay.config import Settings
from relay.errors import LimitError, MediaError, ProtocolError, RefusedError, RelayError, SpoolError
from relay.hub import Hub
from relay.ingest.admission import Admission
from relay.ingest.base import tcp_info
from relay.ingest.demux import Demuxer
from relay.ingest.feed import SegmentFeed
from relay.ingest.hls_fragments import Fragment, FragmentCutter
from relay.ingest.hls_playlist import Playlist, read_playlist
from relay.ingest.hls_server import Listener, UploadConnection
from relay.ingest.inits import MOST_BYTES, Inits, is_init_name
from relay.ingest.links import Links
from relay.ingest.segment import UNNUMBERED, Backfill, Notes, Outcome, Segment, split_name
from relay.protocol import mp4

ROOT = "/ingest/hls"
NAME_MOST = 1024  # characters of a name below the key
UPLOADS_MOST = 12  # of one channel at the same time
UPLOAD_S = 600.0  # the whole of one
SWEEP_S = 0.5
CLOSE_S = 2.0
_STATUS = {"contested": 409, "taken_over": 409, "replaced": 409, "ended": 409, "late": 410}
_STATUS |= {"throttled": 429, "bad_key": 403, "no_key": 403, "not_durable": 503, "busy": 503}
_FRAGMENT = (b"styp", b"moof", b"sidx", b"emsg", b"prft")  # boxes a segment begins with that needs an init segment
_ENDED_MPD = b'type="static"'
_KEY = web.RequestKey("stream_key", str)

log = structlog.get_logger("relay.ingest.hls")


class HlsStats:
    """Counters of the door; metrics read them at scrape. ``segments`` by what became of them."""

    __slots__ = ("limit_hits", "open", "segments")

    def __init__(self, limit_hits: Counter[str]) -> None:
        self.segments: Counter[str] = Counter({outcome.value: 0 for outcome in Outcome})
        self.limit_hits = limit_hits
        self.open = 0


class _Channel:
    """What the door keeps of one channel's publisher. ``uploads``: names of those under way; ``ended``: one is over.

    ``key``: the stream key it was opened with last.
    """

    def __init__(self, feed: SegmentFeed, inits: Inits) -> None:
        self.feed = feed
        self.inits = inits
        self.key = ""
        self.playlist = Playlist()
        self.uploads: list[str] = []
        self.ended = asyncio.Condition()
        self.ready = asyncio.create_task(inits.load())


class _AnswerError(RelayError):
    """What the client is told instead of 2xx."""

    def __init__(self, status: int, outcome: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.outcome = outcome


class HlsPush:
    """One listener for all channels; the key in the address says which."""

    def __init__(
        self,
        hub: Hub,
        admission: Admission,
        links: Links,
        settings: Settings,
        budget: ConnectionBudget,
        *,
        notes: Notes,
        backfill: Backfill,
    ) -> None:
        self._hub = hub
        self._admission = admission
        self._links = links
        self._settings = settings
        self._notes = notes
        self._backfill = backfill
        self.demuxer = Demuxer(settings.limits)
        self._stats = HlsStats(budget.hits)
        self._listener = Listener(settings.limits, self._handle, budget)
        self._channels: dict[str, _Channel] = {}
        self.certificate: Certificate | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def stats(self) -> HlsStats:
        self._stats.open = self._listener.open
        return self._stats

    @property
    def is_resting(self) -> bool:
        return self._listener.is_resting

    @property
    def port(self) -> int:
        """The port in use: what was asked for, or what the system chose for port 0."""
        return self._listener.port

    async def start(self) -> None:
        """Listen. Raises ConfigError when the address is taken or a certificate cannot be read."""
        own = self._settings.ingest_http
        if own.tls_certificate is not None:
            self.certificate = Certificate("ingest_https", own.tls_certificate, own.tls_key, "ingest_http")
        await self._listener.start(own.listen, None if self.certificate is None else self.certificate.context)
        self._sweep()

    async def close(self) -> None:
        """Stop listening; uploads under way are answered if that does not take long."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._listener.close(CLOSE_S)
        for channel in self._channels.values():
            channel.feed.end(clean=False)  # its recording goes on after the restart
        await self.demuxer.close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for name, channel in list(self._channels.items()):
            channel.feed.check(loop.time())
            if name not in self._hub.streams and not channel.uploads:  # the channel was deleted
                channel.inits.remove()
                del self._channels[name]
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)

    # --- a request --------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, UploadConnection)
        connection.heard()
        address = request.remote or "?"
        try:
            key, name = _address_of(request)
            channel = self._admission.admit_publish(key, address, is_counted=False)
            connection.authenticated()
            request[_KEY] = key
            return await self._answer(request, channel, name)
        except _AnswerError as error:
            return self._refusal(address, error.status, error.outcome, error)
        except LimitError as error:
            self._stats.limit_hits[error.limit] += 1
            return self._refusal(address, 503 if error.limit == "hls_demux_queue" else 413, error.limit, error)
        except (MediaError, ProtocolError) as error:
            self._stats.segments["unreadable"] += 1
            return self._refusal(address, 422, "unreadable", error)
        except RefusedError as error:
            return self._refusal(address, _STATUS.get(error.outcome, 409), error.outcome, error)
        except SpoolError as error:
            return self._refusal(address, 503, "not_durable", error)
        except Exception:
            log.exception("upload failed", address=address)
            return web.Response(status=500, text="the relay failed to answer; its log says why\n")

    def _refusal(self, address: str, status: int, outcome: str, error: RelayError) -> web.Response:
        log.warning("upload refused", address=address, status=status, outcome=outcome, reason=str(error))
        headers = {"Retry-After": "2"} if status in (429, 503) else {}
        if status == 405:
            headers["Allow"] = "PUT, POST, DELETE"
        return web.Response(status=status, text=f"{error}\n", headers=headers)

    async def _answer(self, request: web.BaseRequest, name: str, path: str) -> web.StreamResponse:
        if request.method == "DELETE":
            return web.Response()  # what is on the stream is in the archive's hands; there is nothing to take away
        if request.method not in ("PUT", "POST"):
            raise _AnswerError(405, "method", "upload segments and playlists with PUT or POST")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _AnswerError(415, "encoding", "send the upload uncompressed")
        channel = self._channel(name)
        if len(channel.uploads) >= UPLOADS_MOST:
            raise RefusedError("busy", f"{UPLOADS_MOST} uploads for this channel are under way; send this one again")
        channel.key = request[_KEY]
        self._meet(request, channel.feed)
        is_media = not path.endswith((".m3u8", ".mpd"))
        channel.uploads.append(path)
        channel.feed.uploading += is_media
        try:
            await asyncio.shield(channel.ready)
            return await self._receive(request, name, channel, path)
        finally:
            channel.uploads.remove(path)
            channel.feed.uploading -= is_media
            async with channel.ended:
                channel.ended.notify_all()

    def _channel(self, name: str) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            feed = SegmentFeed(
                self._hub,
                name,
                demuxer=self.demuxer,
                notes=self._notes,
                backfill=self._backfill,
                limits=self._settings.limits,
                admit=self._admit,
                protocol="hls" if self._settings.ingest_http.tls_certificate is None else "hlss",
            )
            self._hub.stream(name)
            inits = Inits(self._settings.data_dir / "ingest", name)
            channel = self._channels[name] = _Channel(feed, inits)
        return channel

    def _admit(self, name: str) -> None:
        self._admission.still_admits(self._channels[name].key, name)
        self._links.admit(name)
        self._admission.outcomes[name, "accepted"] += 1

    def _meet(self, request: web.BaseRequest, feed: SegmentFeed) -> None:
        feed.address = request.remote or "?"
        feed.encoder = request.headers.get("User-Agent", "")[:80]
        feed.encrypted = self._settings.ingest_http.tls_certificate is not None
        transport = request.transport
        feed.rtt_s = tcp_info(transport.get_extra_info("socket")).rtt_s if transport is not None else None

    async def _receive(self, request: web.BaseRequest, name: str, channel: _Channel, path: str) -> web.Response:
        """Read the body and take it, as a whole, or fragment by fragment where it is a track without an end.

        Raises LimitError where it is too long, _AnswerError where it breaks off or stands still.
        """
        most = self._settings.limits.hls_segment_bytes
        if (request.content_length or 0) > most:
            raise LimitError("hls_segment", f"an upload of {request.content_length} bytes; {most} are allowed")
        if request.headers.get("Expect", "").lower() == "100-continue" and not request.content.is_eof():
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        body = bytearray()
        until = asyncio.get_running_loop().time() + UPLOAD_S
        while data := await self._piece(request, name, channel.feed):
            body += data
            if len(body) > most:
                raise LimitError("hls_segment", f"an upload of more than {most} bytes")
            if asyncio.get_running_loop().time() > until:
                self._stats.limit_hits["hls_upload"] += 1
                raise _AnswerError(408, "slow", "the upload came too slowly")
            if request.content_length is None and body[4:8] == b"ftyp":
                cutter = FragmentCutter(most)
                fragments = cutter.feed(bytes(body))
                if cutter.init and fragments:
                    return await self._stream(request, name, channel, path, cutter, fragments)
        return await self._take(channel, path, bytes(body))

    async def _piece(self, request: web.BaseRequest, name: str, feed: SegmentFeed) -> bytes:
        """What comes next of a body; empty at its end. Raises RefusedError where its key was changed meanwhile."""
        try:
            async with asyncio.timeout(self._settings.limits.media_closed_s):
                data = await request.content.readany()
        except TimeoutError as error:
            self._stats.limit_hits["hls_upload"] += 1
            raise _AnswerError(408, "slow", "the upload came too slowly") from error
        except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
            self._stats.segments["cut"] += 1
            raise _AnswerError(400, "cut", "the upload broke off") from error  # most likely nobody is there to read it
        self._admission.still_admits(request[_KEY], name)
        feed.bytes_received += len(data)
        self._links.bytes_received[name] += len(data)
        return data

    async def _stream(
        self,
        request: web.BaseRequest,
        name: str,
        channel: _Channel,
        path: str,
        cutter: FragmentCutter,
        fragments: list[Fragment],
    ) -> web.Response:
        """A body that begins with its init segment: each fragment is a segment of its own, and sent again as such."""
        last = -1
        try:
            async with asyncio.TaskGroup() as puts:
                while True:
                    for fragment in fragments:
                        last = fragment.number
                        segment = Segment(last, f"{path}#{last}", fragment.data, cutter.init, track=path)
                        puts.create_task(self._put(channel, segment))
                    data = await self._piece(request, name, channel.feed)
                    if not data:
                        break
                    fragments = cutter.feed(data)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        if cutter.is_ended:
            channel.feed.end(clean=True, after=(path, last))
        return web.Response(status=201)

    async def _put(self, channel: _Channel, segment: Segment) -> Outcome:
        outcome = await channel.feed.put(segment)
        self._stats.segments[outcome] += 1
        return outcome

    # --- what it is -------------------------------------------------------------------------------------------------

    async def _take(self, channel: _Channel, name: str, body: bytes) -> web.Response:
        if body.startswith(b"#EXTM3U"):
            return self._playlist(channel, name, body)
        if name.endswith(".mpd"):
            if _ENDED_MPD in body:
                channel.feed.end(clean=True)
            return web.Response()
        if name.endswith(".m3u8"):
            raise _AnswerError(422, "playlist", "this is no playlist: it does not begin with #EXTM3U")
        kinds = [kind for kind, _, _ in mp4.boxes(body)] if body[4:8] in (b"ftyp", b"moov") else []
        if b"moov" in kinds and b"moof" not in kinds:
            return await self._init(channel, name, body)
        init = b""
        if body[4:8] in _FRAGMENT:
            init = await self._init_for(channel, name)
        track, number = split_name(name) if channel.playlist.counts else ("", UNNUMBERED)
        segment = Segment(number, name, body, init, name in channel.playlist.breaks, track)
        outcome = await self._put(channel, segment)
        return web.Response(status=200 if outcome is Outcome.KNOWN else 201)

    async def _init_for(self, channel: _Channel, name: str) -> bytes:
        """The init segment for the fragment ``name``; one that is on its way is waited for, for as long as the window.

        ffmpeg sends the first of both at once, over two connections.
        """

        def is_settled() -> bool:
            wanted = channel.playlist.inits.get(name, "")
            is_coming = any(other == wanted or is_init_name(other) for other in channel.uploads if other != name)
            return not is_coming and bool(channel.inits.of(name, wanted))

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.limits.hls_window_s), channel.ended:
                await channel.ended.wait_for(is_settled)
        init = channel.inits.of(name, channel.playlist.inits.get(name, ""))
        if not init:
            raise _AnswerError(409, "no_init", "upload the init segment before the segments that need it")
        return init

    async def _init(self, channel: _Channel, name: str, body: bytes) -> web.Response:
        if len(body) > MOST_BYTES:
            raise LimitError("hls_init", f"an init segment of {len(body)} bytes; {MOST_BYTES} are allowed")
        try:
            await channel.inits.put(name, body)
        except OSError as error:
            log.error("an init segment cannot be kept", error=str(error))
            raise RefusedError("not_durable", "the disk does not take this init segment; send it again") from error
        return web.Response(status=201)

    def _playlist(self, channel: _Channel, name: str, body: bytes) -> web.Response:
        most = self._settings.limits.hls_playlist_bytes
        if len(body) > most:
            raise LimitError("hls_playlist", f"a playlist of {len(body)} bytes; {most} are allowed")
        found = read_playlist(name, body.decode("utf-8", "replace"))
        if not found.last and not found.is_ended:
            return web.Response()  # of other playlists, or of nothing yet
        channel.playlist = found
        for gap in found.gaps:
            track, number = split_name(gap)
            if number >= 0 and found.counts:
                channel.feed.missing([number], track)
        if found.is_ended:
            channel.feed.end(clean=True, after=split_name(found.last))
        return web.Response()


def _address_of(request: web.BaseRequest) -> tuple[str, str]:
    """(stream key, name) in a request's address: /ingest/hls/KEY/NAME, or KEY as ?cid= and NAME as ?file=.

    Raises _AnswerError for others. A name is only ever compared with names.
    """
    raw_path, _, raw_query = request.raw_path.partition("?")
    path = unquote(raw_path.partition("://")[2].partition("/")[2] if "://" in raw_path[:8] else raw_path)
    query = parse_qs(raw_query, max_num_fields=20) if len(raw_query) < 2 * NAME_MOST else {}
    rest = path.removeprefix(ROOT).strip("/") if path.startswith(ROOT) else ""
    key, _, name = rest.partition("/")
    key = query.get("cid", [key])[0]
    name = query.get("file", [name])[0].strip("/")
    if not path.startswith(ROOT):
        raise _AnswerError(404, "address", f"upload to {ROOT}/STREAM_KEY/NAME")
    if len(name) > NAME_MOST or any(ord(character) < 32 for character in name):
        raise _AnswerError(400, "name", f"names have up to {NAME_MOST} characters, and no control characters")
    if key and not name:
        raise _AnswerError(400, "name", f"name the segment or playlist: {ROOT}/STREAM_KEY/NAME")
    return key, name
