"""The API's part for what keeps secrets: another admin token, another key for what is encrypted on the disk."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import BaseModel

from relay.control.token import AdminToken, NewTokenView
from relay.control.users import Role
from relay.web.api import BASE, answer
from relay.web.routes import Route


class ReencryptedView(BaseModel):
    """How many stored secrets are encrypted with the new key now."""

    secrets: int


class SecretApi:
    """Handlers of what only the admin token may.

    ``reencrypt`` makes a new key file and uses it; ``forget`` is told that links signed before are good no longer.
    """

    def __init__(self, token: AdminToken, reencrypt: Callable[[], Awaitable[int]], forget: Callable[[], None]) -> None:
        self._token = token
        self._reencrypt = reencrypt
        self._forget = forget

    def routes(self) -> list[Route]:
        return [
            Route(
                method="POST",
                path=f"{BASE}/token/rotate",
                handler=self.rotate_token,
                audit="admin token changed",
                summary="Make a new admin token; the old one and its sessions end at once",
                answer=NewTokenView,
                role=Role.ADMIN,
            ),
            Route(
                method="POST",
                path=f"{BASE}/secret-key/rotate",
                handler=self.rotate_secret_key,
                audit="encryption key changed",
                summary="Encrypt what is stored with a new key; signed links given out so far end",
                answer=ReencryptedView,
                role=Role.ADMIN,
            ),
        ]

    async def rotate_token(self, request: web.Request) -> web.Response:
        token = await self._token.rotate()
        return answer(NewTokenView(token=token.reveal(), file=str(self._token.path)))

    async def rotate_secret_key(self, request: web.Request) -> web.Response:
        try:
            count = await self._reencrypt()
        finally:
            self._forget()
        return answer(ReencryptedView(secrets=count))
