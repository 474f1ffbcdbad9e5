"""Secrets at rest: encrypted with a key file that is made once and readable by its owner only."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from relay.errors import ConfigError
from relay.files import make_directory, sync_directory, write_file
from relay.redaction import known
from relay.secret import Secret


def make_once(path: Path, content: bytes) -> bytes:
    """The content of the 0600 file ``path``; made with ``content``, durably and atomically, where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(temporary, path)  # fails if another start was quicker: its key is the key
    except FileExistsError:
        return path.read_bytes()
    finally:
        temporary.unlink()
    sync_directory(path.parent)  # its name must outlive a power cut as its content does
    return content


class Cipher:
    """Encrypts and signs with the key file ``path``. Raises ConfigError when the file is not a key.

    The file has one key a line: the first is used, the others are former ones that are still understood. There is one,
    but while it is being changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._use(make_once(path, Fernet.generate_key()).split())

    def _use(self, keys: list[bytes]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise ConfigError(
                f"{self._path} is not a key; restore it from a backup, or keys cannot be read again"
            ) from error
        self._keys = keys
        self._signing = hashlib.sha256(b"links" + keys[0]).digest()

    def encrypt(self, secret: Secret) -> bytes:
        return self._fernet.encrypt(known.know(secret).reveal().encode())

    def decrypt(self, token: bytes) -> Secret:
        """Raises ConfigError when the token was made with another key file."""
        try:
            return known.know(Secret(self._fernet.decrypt(token).decode()))
        except InvalidToken as error:
            raise ConfigError(
                f"a stored key cannot be read with {self._path}; restore the secret.key that belongs to this database"
            ) from error

    def sign(self, text: str) -> str:
        """A signature of ``text`` in hex, for links only this relay can make."""
        return hmac.new(self._signing, text.encode(), hashlib.sha256).hexdigest()

    @property
    def is_changing(self) -> bool:
        """Whether a change of key was begun and not finished."""
        return len(self._keys) > 1

    def begin(self) -> None:
        """A new key from now on; all former ones are understood still. Raises OSError. Blocks."""
        keys = [Fernet.generate_key(), *self._keys]
        write_file(self._path, b"\n".join(keys), mode=0o600)
        self._use(keys)

    def finish(self) -> None:
        """All is encrypted with the first key: forget the others. Raises OSError. Blocks."""
        keys = self._keys[:1]
        write_file(self._path, keys[0], mode=0o600)
        self._use(keys)
