"""The API of links to a streamer's page: make, list, take back."""

from collections.abc import Callable

from aiohttp import web

from relay.control import Control
from relay.control.shares import NewShare, NewShareView, ShareList
from relay.web.api import BASE, answer, read_body
from relay.web.routes import Route, about

HINT = (
    "this address opens on the relay's own machine only. For phones set RELAY_HTTP__SHARE_LISTEN=0.0.0.0:8082, "
    "which serves these pages and nothing else, or put a proxy in front and set RELAY_HTTP__PUBLIC_URL"
)


class ShareApi:
    """Handlers of /api/v1 for links. ``base``: what they begin with, and whether only this machine can open it."""

    def __init__(self, control: Control, base: Callable[[], tuple[str, bool]]) -> None:
        self._control = control
        self._base = base

    def routes(self) -> list[Route]:
        """Every operation on links."""
        path = f"{BASE}/channels/{{name}}/shares"
        return [
            Route(
                method="GET",
                path=path,
                handler=self.list_shares,
                summary="The links that open the channel's page for whoever streams",
                answer=ShareList,
            ),
            Route(
                method="POST",
                path=path,
                handler=self.create_share,
                audit="share made",
                summary="Make such a link; its address is shown this once",
                status=201,
                body=NewShare,
                answer=NewShareView,
            ),
            Route(
                method="DELETE",
                path=f"{BASE}/shares/{{share}}",
                handler=self.revoke_share,
                audit="share taken back",
                summary="Take a link back; pages opened by it close within seconds",
                status=204,
            ),
        ]

    async def list_shares(self, request: web.Request) -> web.Response:
        return answer(ShareList(shares=self._control.shares.list(request.match_info["name"])))

    async def create_share(self, request: web.Request) -> web.Response:
        wanted = await read_body(request, NewShare)
        view, token = await self._control.shares.create(request.match_info["name"], wanted.days)
        about(request, share=view.id, days=wanted.days)
        base, is_local = self._base()
        url = f"{base}/s/{token.reveal()}"
        made = NewShareView(**view.model_dump(), url=url, is_local=is_local, hint=HINT if is_local else "")
        return answer(made, 201)

    async def revoke_share(self, request: web.Request) -> web.Response:
        await self._control.shares.revoke(request.match_info["share"])
        return web.Response(status=204)
