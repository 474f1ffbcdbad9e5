"""CORS: other sites' pages may play from here, where the settings name them; nobody's otherwise."""

from collections.abc import Sequence

from aiohttp import web

_PATHS = ("/live/", "/api/v1/recordings/")
_ASKED = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Range, If-None-Match, Authorization",
    "Access-Control-Max-Age": "86400",
}


class Cors:
    """Adds to answers of playback what lets pages of ``origins`` read them; ``*``: everybody's."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    def __bool__(self) -> bool:
        return bool(self._origins)

    def headers(self, request: web.BaseRequest) -> dict[str, str]:
        """What the answer to ``request`` says of it, if anything."""
        if not self._origins or not request.path.startswith(_PATHS):
            return {}
        origin = request.headers.get("Origin", "")
        found = {"Vary": "Accept-Encoding, Origin"}
        if "*" in self._origins:
            found["Access-Control-Allow-Origin"] = "*"
        elif origin in self._origins:
            found["Access-Control-Allow-Origin"] = origin
        return found

    def register(self, app: web.Application) -> None:
        """Answer the questions browsers ask beforehand; without origins there are none to answer."""
        if self._origins:
            for path in _PATHS:
                app.router.add_route("OPTIONS", path + "{rest:.*}", self._ask)

    async def _ask(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_ASKED if "Origin" in request.headers else {})
