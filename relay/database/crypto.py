"""Secrets at rest: encrypted with a key file that is made once and readable by its owner only."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from relay.errors import ConfigError
from relay.files import make_directory, sync_directory
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
    """Encrypts and signs with the key file ``path``. Raises ConfigError when the file is not a key."""

    def __init__(self, path: Path) -> None:
        key = make_once(path, Fernet.generate_key()).strip()
        try:
            self._fernet = Fernet(key)
        except ValueError as error:
            raise ConfigError(f"{path} is not a key; restore it from a backup, or keys cannot be read again") from error
        self._path = path
        self._signing = hashlib.sha256(b"links" + key).digest()

    def encrypt(self, secret: Secret) -> bytes:
        return self._fernet.encrypt(secret.reveal().encode())

    def decrypt(self, token: bytes) -> Secret:
        """Raises ConfigError when the token was made with another key file."""
        try:
            return Secret(self._fernet.decrypt(token).decode())
        except InvalidToken as error:
            raise ConfigError(
                f"a stored key cannot be read with {self._path}; restore the secret.key that belongs to this database"
            ) from error

    def sign(self, text: str) -> str:
        """A signature of ``text`` in hex, for links only this relay can make."""
        return hmac.new(self._signing, text.encode(), hashlib.sha256).hexdigest()
