"""Download of a piece of a recording as one MP4, streamed while it is made."""

import asyncio
import contextlib

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
        """The file. What fails behind its first byte ends the connection early, so that it never looks whole."""
        library = opened(self._archive).library
        recording = request.match_info["id"]
        export = await prepare(library, recording, request.query.get("from", ""), request.query.get("to", ""))
        response = web.StreamResponse(
            headers={
                "Content-Type": "video/mp4",
                "Content-Disposition": f'attachment; filename="{export.name}"',
                "Cache-Control": "no-store",
                "X-Export-Duration": f"{export.duration_s:.3f}",
            }
        )
        response.content_length = export.size
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            async with contextlib.aclosing(export.chunks()) as chunks:
                async for chunk in chunks:
                    for at in range(0, len(chunk), SLICE):
                        async with asyncio.timeout(STALL_S):
                            await response.write(chunk[at : at + SLICE])
        except (RelayError, ConnectionError, TimeoutError) as error:
            log.warning("export broke off", recording=recording, reason=str(error) or type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        return response

    async def describe_export(self, request: web.Request) -> web.StreamResponse:
        return await self.export(request)
