"""Secret: text that never shows itself by accident."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable

STARS = "********"


class Secret:
    """Wraps a key or token: ``str`` and ``repr`` show stars, ``reveal()`` the text, ``==`` takes constant time."""

    __slots__ = ("__weakref__", "_text")

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def digest(self) -> str:
        """SHA-256 of the text in hex: what keys are looked up by."""
        return hashlib.sha256(_bytes(self._text)).hexdigest()

    def __str__(self) -> str:
        return STARS

    def __repr__(self) -> str:
        return f"Secret({STARS})"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._text), _bytes(other._text))

    def __hash__(self) -> int:
        return hash((Secret, self._text))


def censored(text: str, secrets: Iterable[str]) -> str:
    """A stranger's words as people may see them, in one line: some repeat the keys they were shown."""
    for secret in sorted({*secrets} - {""}, key=len)[::-1]:
        text = text.replace(secret, STARS)
    return "".join(character if character.isprintable() else " " for character in text)


def _bytes(text: str) -> bytes:
    """Also of what strangers send: bytes that were no text arrive as lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def new_key(bits: int = 160) -> Secret:
    """A fresh key of at least 128 random bits, in lower-case letters and digits a person can read out."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    length = -(-bits * 1000 // 4954)  # log2(31) = 4.954 bits a letter
    return Secret("".join(secrets.choice(alphabet) for _ in range(length)))
