"""Download of a piece of a recording as one MP4, streamed while it is made."""

import asyncio
import contextlib
import re

import structlog
from aiohttp import web

from relay.archive.archive import Archive
from relay.archive.export import prepare
from relay.control.users import Role
from relay.errors import RelayError
from relay.web.playback import opened
from relay.web.routes import Route

log = structlog.get_logger("relay.web")

STALL_S = 600.0  # a player may pause; who reads nothing for longer has to ask again
SLICE = 256 * 1024
_RANGE = re.compile(r"bytes=(?:([0-9]{1,15})-([0-9]{0,15})|-([0-9]{1,15}))")


class Downloads:
    """Handlers of the export."""

    def __init__(self, archive: Archive | None) -> None:
        self._archive = archive

    def routes(self) -> list[Route]:
        """The server lets signed links in besides the token. They must come before the route of plain files."""
        path, query = "/api/v1/recordings/{id}/export.mp4", ("from", "to", "expires", "signature")
        summary = "The recording, or a piece of it, as one MP4: from and to are offsets or times of day"
        return [
            Route(
                method="GET",
                path=path,
                handler=self.export,
                role=Role.VIEWER,
                summary=summary,
                content_type="video/mp4",
                query=query,
            ),
            Route(
                method="HEAD",
                path=path,
                handler=self.describe_export,
                role=Role.VIEWER,
                summary="How long and large an export would be",
                content_type="video/mp4",
                query=query,
            ),
        ]

    async def export(self, request: web.Request) -> web.StreamResponse:
        """The file, or the range of it that is asked for: a download that broke off goes on where it was.

        What fails behind its first byte ends the connection early, so that it never looks whole.
        """
        library = opened(self._archive).library
        recording = request.match_info["id"]
        export = await prepare(library, recording, request.query.get("from", ""), request.query.get("to", ""))
        tag = f'"{export.tag}"'
        part = _part(request, export.size, tag)
        response = web.StreamResponse(
            status=200 if part is None else 206,
            headers={
                "Accept-Ranges": "bytes",
                "ETag": tag,
                "Content-Type": "video/mp4",
                "Content-Disposition": f'attachment; filename="{export.name}"',
                "Cache-Control": "no-store",
                "X-Export-Duration": f"{export.duration_s:.3f}",
            },
        )
        first, last = (0, export.size - 1) if part is None else part
        if part is not None:
            response.headers["Content-Range"] = f"bytes {first}-{last}/{export.size}"
        response.content_length = left = last - first + 1
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            async with contextlib.aclosing(export.chunks(first)) as chunks:
                async for chunk in chunks:
                    for at in range(0, min(len(chunk), left), SLICE):
                        async with asyncio.timeout(STALL_S):
                            await response.write(chunk[at : min(at + SLICE, left)])
                    left -= len(chunk)
                    if left <= 0:
                        break
        except (RelayError, ConnectionError, TimeoutError) as error:
            log.warning("export broke off", recording=recording, reason=str(error) or type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        return response

    async def describe_export(self, request: web.Request) -> web.StreamResponse:
        return await self.export(request)


def _part(request: web.Request, size: int, tag: str) -> tuple[int, int] | None:
    """(first, last) byte of the one range asked for (RFC 9110 §14.2); None: all of it.

    Raises HTTPRequestRangeNotSatisfiable for one behind the end.
    """
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if found is None or request.method != "GET" or request.headers.get("If-Range", tag) != tag:
        return None
    if found[3]:
        first, last = max(0, size - int(found[3])), size - 1
    else:
        first, last = int(found[1]), int(found[2] or size - 1)
    if first >= size:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return (first, min(last, size - 1)) if first <= last else None
