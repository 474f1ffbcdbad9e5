"""Signing: the key a relay signs its manifests with, made once, and its public half for those who check them."""

import base64
import binascii
import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from relay.database.crypto import make_once
from relay.errors import ConfigError

KEY_FILE = "evidence.key"
_PUBLIC_BYTES = 32
_SIGNATURE_BYTES = 64


class PublicKey:
    """Checks what the private half signed. ``id`` is short enough to compare by eye. Raises ValueError: no key."""

    def __init__(self, raw: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(raw)
        self.raw = raw
        self.id = hashlib.sha256(raw).hexdigest()[:16]

    @property
    def base64(self) -> str:
        return base64.b64encode(self.raw).decode()

    @property
    def pem(self) -> str:
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def fits(self, signature: bytes, data: bytes) -> bool:
        """Whether ``signature`` was made of ``data`` with the private half."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return len(signature) == _SIGNATURE_BYTES


class Signer:
    """Signs with the key file ``path``, made where there is none. Raises ConfigError when the file is no such key."""

    def __init__(self, path: Path) -> None:
        fresh = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            content = make_once(path, fresh)
        except OSError as error:
            raise _unreadable(path, error) from error
        self._key = _private(path, content)
        self.public = _public(self._key)

    def sign(self, data: bytes) -> bytes:
        """64 bytes that only this key makes of ``data``."""
        return self._key.sign(data)


def own_public_key(data_dir: Path) -> PublicKey | None:
    """The public half of the key in ``data_dir``; None where no relay has made one. Raises ConfigError."""
    path = data_dir / KEY_FILE
    try:
        return _public(_private(path, path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def read_public_key(path: Path) -> PublicKey:
    """The public key in a file: PEM, or its 32 bytes in base64. Raises ConfigError."""
    try:
        content = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"cannot read the public key {path}: {error.strerror}; `relay evidence-key` prints a relay's own"
        ) from error
    try:
        if content.startswith(b"-----BEGIN PUBLIC"):
            key = load_pem_public_key(content)
            if isinstance(key, Ed25519PublicKey):
                return PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
        elif content.startswith(b"-----BEGIN PRIVATE"):
            return _public(_private(path, content))
        elif len(raw := base64.b64decode(content, validate=True)) == _PUBLIC_BYTES:
            return PublicKey(raw)
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise _no_public_key(path) from error
    raise _no_public_key(path)


def _public(key: Ed25519PrivateKey) -> PublicKey:
    return PublicKey(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def _private(path: Path, content: bytes) -> Ed25519PrivateKey:
    words = (
        f"{path} is not an Ed25519 private key; restore it from a backup, or move it away and a new one is made "
        "(what was signed with the old one then needs the old public key)"
    )
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(words) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(words)
    return key


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot read {path}: {error.strerror}; run this as the relay's user, or give its public half with --key"
    )


def _no_public_key(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is not an Ed25519 public key; give it as PEM or in base64, as `relay evidence-key` prints it"
    )
