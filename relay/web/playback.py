"""Playback of recordings, running ones too: playlists and segments, behind the token or short-lived signed links."""

import hmac
import re
import time
from collections.abc import Callable

from aiohttp import web

from relay.archive.archive import Archive
from relay.archive.ranges import iso
from relay.control import Control, models
from relay.control.users import Role
from relay.errors import NotFoundError
from relay.web.api import answer
from relay.web.routes import Route

LINK_S = 6 * 3600
_NAME = re.compile(r"[0-9]{6,}\.m4s|init-[0-9a-z]+\.mp4|gap\.mp4|[0-9]{6,}\.raw\.flv|thumb-[0-9]{6,}\.jpg")
_TYPES = {"m4s": "video/iso.segment", "mp4": "video/mp4", "flv": "video/x-flv", "jpg": "image/jpeg"}
PLAYLIST = "application/vnd.apple.mpegurl"


class Links:
    """Signs links to one recording or channel, and knows its own signatures.

    ``sign`` turns a text into its signature.
    """

    def __init__(self, sign: Callable[[str], str]) -> None:
        self._sign = sign

    def query(self, subject: str, expires: int) -> str:
        """``expires=…&signature=…`` for reading everything of ``subject`` until ``expires``, unix seconds."""
        return f"expires={expires}&signature={self._sign(f'{subject}:{expires}')}"

    def until(self, subject: str, expires: str, signature: str) -> int:
        """Until when such a query opens ``subject``, unix seconds; 0 where it does not, or no longer."""
        if not re.fullmatch(r"[0-9]{1,12}", expires) or int(expires) < time.time():
            return 0
        right = self._sign(f"{subject}:{expires}")
        return int(expires) if hmac.compare_digest(signature.encode(), right.encode()) else 0

    def allows(self, request: web.Request) -> bool:
        """Whether the request carries a link's query that is right and not expired."""
        recording = request.match_info.get("id", "") if request.method in ("GET", "HEAD") else ""
        query = request.query
        return bool(recording and self.until(recording, query.get("expires", ""), query.get("signature", "")))


class Playback:
    """Handlers that serve what the archive has."""

    def __init__(self, control: Control, archive: Archive | None, links: Links) -> None:
        self._control = control
        self._archive = archive
        self._links = links

    def routes(self) -> list[Route]:
        """Playback's operations. The server lets signed links in besides the token."""
        one = "/api/v1/recordings/{id}"
        return [
            Route(
                method="GET",
                path=f"{one}/index.m3u8",
                handler=self.playlist,
                role=Role.VIEWER,
                summary="The recording as an HLS playlist",
                content_type=PLAYLIST,
                query=("expires", "signature"),
            ),
            Route(
                method="POST",
                path=f"{one}/link",
                handler=self.link,
                audit="recording link made",
                summary="Links to the recording that open without a token for some hours",
                answer=models.LinkView,
            ),
            Route(
                method="GET",
                path=f"{one}/{{file}}",
                handler=self.media,
                role=Role.VIEWER,
                summary="A segment of the recording",
                content_type="video/mp4",
                query=("expires", "signature"),
            ),
        ]

    async def playlist(self, request: web.Request) -> web.Response:
        return await self._playlist(request.match_info["id"], "")

    async def newest(self, request: web.Request) -> web.Response:
        """The newest recording of the channel that the request names."""
        recording = await self._control.newest_recording(request.match_info["name"])
        return await self._playlist(recording, f"/api/v1/recordings/{recording}/")

    async def _playlist(self, recording: str, base: str) -> web.Response:
        text = await opened(self._archive).library.playlist(recording)
        # To the hour, so that a playlist read again names its segments as before and players keep what they have.
        query = self._links.query(recording, (int(time.time()) // 3600 + 1) * 3600 + LINK_S)
        # Players do not carry the token over to segments: their links carry a signature instead.
        text = re.sub(rf"^({_NAME.pattern})$", rf"{base}\1?{query}", text, flags=re.MULTILINE)
        text = re.sub(rf'URI="({_NAME.pattern})"', rf'URI="{base}\1?{query}"', text)
        return web.Response(text=text, content_type=PLAYLIST, headers={"Cache-Control": "no-store"})

    async def link(self, request: web.Request) -> web.Response:
        recording = await self._control.recordings.get(request.match_info["id"])
        expires_at = int(time.time()) + LINK_S
        base = f"{self._control.playback_base()}/api/v1/recordings/{recording.id}"
        query = self._links.query(recording.id, expires_at)
        return answer(
            models.LinkView(
                playlist_url=f"{base}/index.m3u8?{query}",
                export_url=f"{base}/export.mp4?{query}",
                expires_at=iso(expires_at),
            )
        )

    async def media(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        if not _NAME.fullmatch(name):
            raise NotFoundError(f"a recording has no file {name[:80]}")
        data = await opened(self._archive).library.read(request.match_info["id"], name)
        return web.Response(
            body=data,
            content_type=_TYPES[name.rpartition(".")[2]],
            headers={"Cache-Control": "private, max-age=31536000, immutable"},
        )


def opened(archive: Archive | None) -> Archive:
    """The archive. Raises NotFoundError where it is off."""
    if archive is None:
        raise NotFoundError("the archive is off (RELAY_ARCHIVE__STORE=off), so there is nothing to play")
    return archive
