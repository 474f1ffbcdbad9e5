"""What viewers ask for below ``/live/{name}/``: playlists, which may wait for what comes, and media."""

import gzip
import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from relay.archive.packager import InitSegment
from relay.control import models
from relay.control.users import Role
from relay.errors import MediaError, NotFoundError
from relay.web.hls.access import Access
from relay.web.hls.cut import Epoch, Rendition, Segment, codecs
from relay.web.hls.live import LiveChannels
from relay.web.hls.muxer import Muxer
from relay.web.hls.playlists import NAMES, QUERY, media, multivariant
from relay.web.ready import Ready
from relay.web.routes import Handler, Route

PLAYLIST = "application/vnd.apple.mpegurl"
FOR_EVER_S = 31_536_000
START_S = 15.0  # how long a playlist may be waited for when a stream begins
BLOCK_TARGETS = 3  # target durations a request may be kept waiting (draft-pantos-hls-rfc8216bis §6.2.5.2)
AHEAD = 2  # segments beyond the playlist that may be asked for
COMPRESS_BYTES = 3000
RENDERED = 256  # playlists remembered, of all channels: by version, and by viewers' queries
READY_BYTES = 24 * 1024 * 1024  # answers remembered, of all channels
Key = TypeVar("Key")
Value = TypeVar("Value")
_RENDITIONS = {name: rendition for rendition, name in NAMES.items()}
_FILE = re.compile(r"([0-9]{1,12})(a?)(?:\.([0-9]{1,3}))?\.(m4s|mp4)")
_TYPES = {"m4s": "video/iso.segment", "mp4": "video/mp4"}


@dataclass(frozen=True, slots=True)
class Text:
    """A playlist as sent: its bytes, the same compressed (None: too short for that), and its ETag."""

    body: bytes
    packed: bytes | None
    etag: str

    @classmethod
    def of(cls, text: str) -> "Text":
        body = text.encode()
        packed = gzip.compress(body, 3, mtime=0) if len(body) > COMPRESS_BYTES else None
        return cls(body, packed, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')


class LivePlayback:
    """Handlers of live playback. ``recorded`` answers for a channel that is not live."""

    def __init__(self, live: LiveChannels, access: Access, recorded: Handler, *, vary_by_origin: bool) -> None:
        self._vary = "Accept-Encoding, Origin" if vary_by_origin else "Accept-Encoding"
        self._live = live
        self._access = access
        self._recorded = recorded
        self._ready: OrderedDict[tuple[str, str, str, int], bytes] = OrderedDict()
        self._ready_bytes = 0
        self._written: OrderedDict[tuple[str, int, str], str] = OrderedDict()
        self._texts: OrderedDict[tuple[str, int, str, str], Text] = OrderedDict()

    def routes(self) -> list[Route]:
        """Live playback's operations. The server lets in whom ``Access`` allows besides the token."""
        base, query = "/live/{name}", ("key", "expires", "signature")
        directives = ("_HLS_msn", "_HLS_part", "_HLS_skip")
        return [
            Route(
                method="GET",
                path=f"{base}/index.m3u8",
                handler=self.live_index,
                role=Role.VIEWER,
                summary="The live stream as (low-latency) HLS; its newest recording while there is none",
                content_type=PLAYLIST,
                query=query,
                has_head=True,
            ),
            Route(
                method="GET",
                path=f"{base}/state",
                handler=self.live_state,
                role=Role.VIEWER,
                summary="Whether there is something to watch",
                answer=models.LiveView,
                query=query,
                has_head=True,
            ),
            Route(
                method="GET",
                path=f"{base}/{{playlist}}",
                handler=self.live_playlist,
                role=Role.VIEWER,
                summary="One rendition of the live stream: main.m3u8, or audio.m3u8",
                content_type=PLAYLIST,
                query=(*query, *directives),
                has_head=True,
            ),
            Route(
                method="GET",
                path=f"{base}/{{run}}/{{file}}",
                handler=self.live_media,
                role=Role.VIEWER,
                summary="A segment, a part of one, or an init segment of the live stream",
                content_type="video/mp4",
                query=query,
                has_head=True,
            ),
        ]

    # --- playlists ------------------------------------------------------------------------------------------------

    async def live_index(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        muxer = self._live.muxer(name)
        if muxer is None:
            return await self._recorded(request)
        if not await self._begun(muxer):
            return _later("the stream is about to begin")
        self._count(name, "multivariant")
        text = self._text(request, name, muxer, "index", lambda: multivariant(muxer))
        return self._answer(request, name, text, "no-cache")

    async def live_playlist(self, request: web.Request) -> web.StreamResponse:
        name, rendition = request.match_info["name"], _RENDITIONS.get(request.match_info["playlist"])
        muxer = self._live.muxer(name)
        if rendition is None or muxer is None:
            raise NotFoundError(f"{name} is not live" if rendition is not None else "there is no such playlist")
        if not await self._begun(muxer):
            return _later("the stream is about to begin")
        wanted = _directives(request)
        control = "max-age=1"
        if wanted is not None and not muxer.is_over:
            if _is_beyond(muxer, *wanted):
                return _refused("that is more than two segments, or three parts, beyond the end of the playlist")
            if not await muxer.wait(*wanted, BLOCK_TARGETS * muxer.target_s):
                return _later("no new media for a while")
            control = f"max-age={6 * muxer.target_s}"
        if rendition is Rendition.AUDIO and not any(segment.epoch.has(rendition) for segment in muxer.segments):
            raise NotFoundError(f"{name} has no sound")
        skip = request.query.get("_HLS_skip", "") in ("YES", "v2")
        self._count(name, "playlist")
        if request.transport is not None:
            self._live.watched(name).asked(request.transport.get_extra_info("peername"))
        kind = f"{rendition.name}{'-skip' if skip else ''}"
        text = self._text(request, name, muxer, kind, lambda: media(muxer, rendition, skip=skip))
        return self._answer(request, name, text, control)

    @staticmethod
    async def _begun(muxer: Muxer) -> bool:
        """Whether there is a first segment, now or soon, for somebody who watches from now on."""
        muxer.asked()
        if not muxer.target_s:
            await muxer.wait(0, None, START_S)
        return bool(muxer.target_s)

    def _text(self, request: web.Request, name: str, muxer: Muxer, kind: str, write: Callable[[], str]) -> Text:
        """What ``write`` makes of the muxer as it is, for this viewer's query: made once for all who ask the same."""
        query = self._access.passed_on(request, name)
        key = (muxer.run, muxer.version, kind)
        text = self._texts.get((*key, query))
        if text is None:
            written = self._written.get(key)
            if written is None:
                written = _keep(self._written, key, write())
            text = _keep(self._texts, (*key, query), Text.of(written.replace(QUERY, query)))
        return text

    def _answer(self, request: web.Request, name: str, text: Text, control: str) -> web.StreamResponse:
        headers = {"ETag": text.etag, "Cache-Control": f"{self._scope(name)}, {control}", "Vary": self._vary}
        body = text.body
        if text.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = text.packed
            headers["Content-Encoding"] = "gzip"
        return self._send(request, name, body, PLAYLIST, headers)

    def _scope(self, name: str) -> str:
        return "public" if self._access.is_public(name) else "private"

    # --- media ----------------------------------------------------------------------------------------------------

    async def live_media(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        found = _FILE.fullmatch(request.match_info["file"])
        muxer = self._live.run(name, request.match_info["run"])
        if found is None or muxer is None:
            raise NotFoundError("that is no longer kept, or was never there")
        number, rendition = int(found[1]), Rendition(found[2])
        part = None if found[3] is None else int(found[3])
        if found[4] == "mp4":
            self._count(name, "init")
            data = await self._init(muxer, number, rendition)
        else:
            self._count(name, "segment" if part is None else "part")
            data = await self._media(name, muxer, number, part, rendition)
        headers = {
            "ETag": f'"{muxer.run}-{found[0]}"',
            "Cache-Control": f"{self._scope(name)}, max-age={FOR_EVER_S}, immutable",
            "Vary": self._vary,
        }
        return self._send(request, name, data, _TYPES[found[4]], headers)

    async def _media(self, name: str, muxer: Muxer, number: int, part: int | None, rendition: Rendition) -> bytes:
        if part is not None and muxer.open is not None and not muxer.has(number, part):
            hinted = muxer.open.number == number and len(muxer.open.parts) == part
            if hinted and muxer.is_flowing:  # §6.2.6: it is waited for
                await muxer.wait(number, part, BLOCK_TARGETS * muxer.target_s)
        segment = muxer.find(number)
        if segment is None or (segment is muxer.open and part is None):
            raise NotFoundError("that segment is no longer kept, or is not there yet")
        if not _has(segment, part, rendition):
            raise NotFoundError("there is no media for that time")
        await _init(segment.epoch, rendition)
        return _kept(segment, part, rendition) or await self._live.past.data(name, segment, rendition, part)

    @staticmethod
    async def _init(muxer: Muxer, number: int, rendition: Rendition) -> bytes:
        segments = [*muxer.segments] if muxer.open is None else [*muxer.segments, muxer.open]
        epoch = next((segment.epoch for segment in reversed(segments) if segment.epoch.number == number), None)
        if epoch is None or not epoch.has(rendition):
            raise NotFoundError("there is no such init segment")
        return (await _init(epoch, rendition)).data

    def _send(
        self, request: web.Request, name: str, body: bytes, kind: str, headers: dict[str, str]
    ) -> web.StreamResponse:
        if headers["ETag"] in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        if request.method != "HEAD":
            self._live.watched(name).bytes_sent += len(body)
        if not Ready.fits(request) or "Origin" in request.headers:
            return web.Response(body=body, content_type=kind, headers=headers)
        key = (name, headers["ETag"], headers["Cache-Control"], len(body))
        whole = self._ready.get(key)
        if whole is None:
            whole = Ready.bytes_of(body, {"Content-Type": kind, **headers})
            if len(whole) > READY_BYTES // 8:
                return Ready(whole)
            self._ready[key] = whole
            self._ready_bytes += len(whole)
            while self._ready_bytes > READY_BYTES:
                self._ready_bytes -= len(self._ready.popitem(last=False)[1])
        return Ready(whole)

    def _count(self, name: str, kind: str) -> None:
        self._live.watched(name).requests[kind] += 1

    # --- for the player page --------------------------------------------------------------------------------------

    async def live_state(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        muxer = self._live.muxer(name)
        if muxer is not None:
            muxer.asked()  # a player's page is open, and goes on to the playlist
        return web.Response(
            text=self.view(name).model_dump_json(),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    def view(self, name: str) -> models.LiveView:
        """What a player page must know of the channel."""
        muxer = self._live.muxer(name)
        if muxer is None:
            return models.LiveView(state="offline", codecs="", has_audio=False, dvr_s=0)
        video, audio = muxer.stream.tracks if muxer.open is None else muxer.open.epoch.tracks
        state = "ended" if muxer.is_over else muxer.stream.state.value if muxer.target_s else "starting"
        listed = [segment for segment in muxer.segments if segment.number >= muxer.first_listed]
        return models.LiveView(
            state=state,
            codecs=codecs((video, audio)),
            has_audio=video is not None and audio is not None,
            dvr_s=(listed[-1].end_ms - listed[0].start_ms) / 1000 if listed else 0,
        )


async def _init(epoch: Epoch, rendition: Rendition) -> InitSegment:
    """The init segment. Raises NotFoundError in words where there can be none."""
    try:
        return await epoch.init(rendition)
    except MediaError as error:
        raise NotFoundError(f"there is nothing to play: {error}") from error


def _keep(found: OrderedDict[Key, Value], key: Key, value: Value) -> Value:
    """Remember ``value``, and forget the oldest beyond RENDERED."""
    found[key] = value
    if len(found) > RENDERED:
        found.popitem(last=False)
    return value


def _kept(segment: Segment, part: int | None, rendition: Rendition) -> bytes:
    """What is in memory of that segment or part; nothing where it has left it."""
    if not segment.is_kept:
        return b""
    if part is None:
        return segment.data(rendition)
    return segment.parts[part].data(rendition, segment.number, segment.epoch)


def _has(segment: Segment, part: int | None, rendition: Rendition) -> bool:
    """Whether there is media in that segment or part of it."""
    if part is None:
        return segment.has(rendition)
    cuts = segment.cuts
    return part < len(cuts) and (rendition is Rendition.MAIN or cuts[part].audio > 0)


def _directives(request: web.Request) -> tuple[int, int | None] | None:
    """(segment, part) of ``_HLS_msn`` and ``_HLS_part``; None without. Raises HTTPBadRequest."""
    if "_HLS_" not in request.query_string:
        return None
    number, part = request.query.get("_HLS_msn"), request.query.get("_HLS_part")
    if number is None:
        if part is not None:
            raise web.HTTPBadRequest(reason="_HLS_part without _HLS_msn")
        return None
    if not re.fullmatch(r"[0-9]{1,15}", number) or (part is not None and not re.fullmatch(r"[0-9]{1,9}", part)):
        raise web.HTTPBadRequest(reason="_HLS_msn and _HLS_part are whole numbers")
    return int(number), None if part is None else int(part)


def _is_beyond(muxer: Muxer, number: int, part: int | None) -> bool:
    """Whether that is so far ahead that whoever asks must be wrong (§6.2.5.2)."""
    cut = 0 if muxer.open is None else len(muxer.open.parts)
    newest = muxer.open.number if muxer.open is not None and cut else muxer.last_closed
    if number > newest + AHEAD:
        return True
    limit = math.ceil(3000 / muxer.part_target_ms) if muxer.part_target_ms < 1000 else 3
    return part is not None and cut > 0 and number == newest and part >= cut + limit


def _refused(words: str) -> web.Response:
    return _said(400, "invalid", words, {})


def _later(words: str) -> web.Response:
    return _said(503, "later", words, {"Retry-After": "1"})


def _said(status: int, code: str, words: str, headers: dict[str, str]) -> web.Response:
    return web.json_response(
        {"error": {"code": code, "message": words}}, status=status, headers={"Cache-Control": "no-store", **headers}
    )
