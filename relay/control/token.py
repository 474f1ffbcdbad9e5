"""The admin token: what opens everything. Kept in a file of its own, and changed while the relay runs."""

import asyncio
from pathlib import Path

import structlog
from pydantic import BaseModel

from relay.database.crypto import make_once
from relay.files import write_file
from relay.redaction import known
from relay.secret import Secret, new_key

log = structlog.get_logger("relay.control")

FILE = "admin.token"
BITS = 200


class NewTokenView(BaseModel):
    """The new admin token, shown this once, and the file it is in."""

    token: str
    file: str


class AdminToken:
    """The token of one relay, in ``admin.token`` of its data directory; made at the first start."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE
        made = make_once(self.path, new_key(BITS).reveal().encode())
        self._token = known.know(Secret(made.decode().strip()))
        self._changing = asyncio.Lock()

    def opens(self, shown: Secret) -> bool:
        """Whether ``shown`` is the token, in constant time."""
        return shown == self._token

    def reveal(self) -> str:
        return self._token.reveal()

    def digest(self) -> str:
        """Of the token there is now: what began with another one is over."""
        return self._token.digest()

    async def rotate(self) -> Secret:
        """A new token, on the disk when this returns; the one before opens nothing from then on."""
        async with self._changing:
            token = known.know(new_key(BITS))
            await asyncio.to_thread(write_file, self.path, token.reveal().encode(), mode=0o600)
            self._token = token
        log.info("the admin token was changed")
        return token
