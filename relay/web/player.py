"""Player: the page people watch a channel on, and the links to it."""

import time

from aiohttp import web

from relay.archive.ranges import iso
from relay.control import Control, models
from relay.web.api import answer, read_body
from relay.web.console import Console
from relay.web.hls.access import Access
from relay.web.pages import page
from relay.web.routes import Route


class Player:
    """``/watch/{name}`` for a channel; of any other name, the console's page of that recording."""

    def __init__(self, control: Control, access: Access, console: Console) -> None:
        self._control = control
        self._access = access
        self._console = console

    def routes(self) -> list[Route]:
        return [
            Route(
                method="POST",
                path="/api/v1/channels/{name}/link",
                handler=self.watch_link,
                audit="watch link made",
                summary="Links to watch the channel that open without a token until they expire",
                body=models.WatchLinkOptions,
                answer=models.WatchLinkView,
            )
        ]

    def register(self, app: web.Application) -> None:
        app.router.add_get("/watch/{name}", self.watch)

    async def watch(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._control.channel_names:
            return await self._console.watch(request)
        if self._access.allows(request) or self._console.allows(request):
            return page("player.html", name=name, query=self._access.passed_on(request, name))
        return page("no_access.html", status=401, name=name)

    async def watch_link(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        view = self._control.channel(name)
        options = await read_body(request, models.WatchLinkOptions)
        expires_at = int(time.time() + options.hours * 3600)
        query = self._access.link(name, expires_at)
        return answer(
            models.WatchLinkView(
                watch_url=f"{view.watch_url}?{query}",
                playback_url=f"{view.playback_url}?{query}",
                expires_at=iso(expires_at),
            )
        )
