"""The API of slates: what holds can show; list, upload, remove."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from relay.control import Control
from relay.control.slates import SlateList, Slates, SlateView, check_name
from relay.egress import SLATE_BYTES
from relay.errors import ConflictError
from relay.web.api import BASE, answer
from relay.web.routes import DEADLINE_S, Route, about

UPLOAD_S = 600.0  # 20 MiB at 280 kbit/s
AT_ONCE = 4


class SlateApi:
    """Handlers of /api/v1/slates."""

    def __init__(self, control: Control, folder: Path) -> None:
        def used() -> Iterator[tuple[str, str]]:
            for name in control.channel_names:
                for destination in control.destinations(name):
                    if destination.hold.mode == "slate":
                        yield destination.hold.slate, f"{name}/{destination.name}"

        self._slates = Slates(folder, used)
        self._uploads = 0

    def routes(self) -> list[Route]:
        """Every operation on slates."""
        path = f"{BASE}/slates"
        return [
            Route(
                method="GET",
                path=path,
                handler=self.list_slates,
                summary="Every picture and clip that a hold can show",
                answer=SlateList,
            ),
            Route(
                method="PUT",
                path=f"{path}/{{slate}}",
                handler=self.put_slate,
                audit="slate uploaded",
                summary="Upload a PNG, JPEG or MP4 file; it is tried first",
                upload="application/octet-stream",
                answer=SlateView,
            ),
            Route(
                method="DELETE",
                path=f"{path}/{{slate}}",
                handler=self.remove_slate,
                audit="slate removed",
                summary="Remove a slate that no destination shows",
                status=204,
            ),
        ]

    async def list_slates(self, request: web.Request) -> web.Response:
        return answer(SlateList(slates=await self._slates.list()))

    async def put_slate(self, request: web.Request) -> web.Response:
        name = request.match_info["slate"]
        check_name(name)
        if self._uploads >= AT_ONCE:
            raise ConflictError(f"{AT_ONCE} slates are being uploaded; try again when one is done")
        self._uploads += 1
        try:
            view = await self._slates.keep(name, await _content(request))
        finally:
            self._uploads -= 1
        about(request, bytes=view.size)
        return answer(view)

    async def remove_slate(self, request: web.Request) -> web.Response:
        await self._slates.remove(request.match_info["slate"])
        return web.Response(status=204)


async def _content(request: web.Request) -> bytes:
    """The whole file. Raises HTTPException where it is compressed, too long or too slow."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType
    body = bytearray()
    size = request.content_length or 0
    silence_s = request.config_dict[DEADLINE_S]
    try:
        async with asyncio.timeout(UPLOAD_S):
            while size <= SLATE_BYTES:
                async with asyncio.timeout(silence_s):
                    data = await request.content.readany()
                if not data:
                    return bytes(body)
                body += data
                size = max(size, len(body))
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    raise web.HTTPRequestEntityTooLarge(SLATE_BYTES, size)
