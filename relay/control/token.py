"""The admin token: what opens everything. Kept in a file of its own, and changed while the relay runs."""

import asyncio
import threading
from pathlib import Path

import structlog
from pydantic import BaseModel, Field

from relay.database.crypto import make_once
from relay.errors import ConflictError
from relay.files import write_file
from relay.redaction import known
from relay.secret import Secret, new_key

log = structlog.get_logger("relay.control")

FILE = "admin.token"
BITS = 200
SHORTEST = 22  # characters of a token that is given: 128 bits of letters and digits


class NewTokenView(BaseModel):
    """The new admin token, shown this once, and the file it is in."""

    token: str = Field(repr=False)
    file: str


class AdminToken:
    """The token of one relay, in ``admin.token`` of its data directory; made at the first start.

    The file may be somebody else's to change (a secret of compose or Kubernetes): ``look`` takes what it holds then.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE
        made = make_once(self.path, new_key(BITS).reveal().encode())
        self._token = known.know(Secret(made.decode().strip()))
        self._lock = threading.Lock()  # of file and token together
        self._refused = ""  # what was said of the file last

    def opens(self, shown: Secret) -> bool:
        """Whether ``shown`` is the token, in constant time."""
        return shown == self._token

    def reveal(self) -> str:
        return self._token.reveal()

    def digest(self) -> str:
        """Of the token there is now: what began with another one is over."""
        return self._token.digest()

    async def rotate(self) -> Secret:
        """A new token, on the disk when this returns; the one before opens nothing from then on.

        Raises ConflictError where the file is not the relay's to write.
        """
        token = await asyncio.to_thread(self._write)
        log.info("the admin token was changed")
        return token

    def look(self) -> None:
        """Take the token of the file, where it holds another one. Reads a file: not for the loop."""
        with self._lock:
            try:
                text = self.path.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                self._refuse(type(error).__name__)
                return
            found = Secret(text)
            if found == self._token:
                self._refused = ""
            elif len(text) < SHORTEST:
                self._refuse(f"it holds less than {SHORTEST} characters")
            else:
                self._token, self._refused = known.know(found), ""
                log.warning("the admin token was changed by its file")

    def _refuse(self, why: str) -> None:
        if why != self._refused:
            self._refused = why
            log.error("the admin token's file is no use; the token stays", file=str(self.path), reason=why)

    def _write(self) -> Secret:
        token = known.know(new_key(BITS))
        with self._lock:
            try:
                write_file(self.path, token.reveal().encode(), mode=0o600)
            except OSError as error:
                raise ConflictError(
                    f"cannot write {self.path} ({error.strerror}): where it comes from elsewhere, change it there; the "
                    "relay takes it within a minute, or at once by SIGHUP"
                ) from error
            self._token = token
        return token
