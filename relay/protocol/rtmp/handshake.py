"""RTMP handshake, both roles: simple (RTMP 1.0 §5.2) and with digests (as Flash Player 9 and media servers do)."""

import hashlib
import hmac
from abc import ABC, abstractmethod

from relay.errors import ProtocolError

SIZE = 1536
VERSION = 3
_DIGEST = 32
# The well-known keys of the digest handshake; their first 30 and 36 bytes sign C1 and S1, the whole C2 and S2.
_TAIL = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
_PLAYER_KEY = b"Genuine Adobe Flash Player 001" + _TAIL
_SERVER_KEY = b"Genuine Adobe Flash Media Server 001" + _TAIL
_PLAYER_SHORT, _SERVER_SHORT = _PLAYER_KEY[:30], _SERVER_KEY[:36]
# Where the digest block starts: behind time and version, or behind the 764-byte key block that may come first.
_SCHEMES = (8, 8 + 764)
NONCE_BYTES = 2 * SIZE


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, hashlib.sha256)


def _digest_at(block: bytes, base: int) -> int:
    """Offset of the digest: four bytes at ``base`` are summed, modulo the room there is."""
    return sum(block[base : base + 4]) % (764 - _DIGEST - 4) + base + 4


def find_digest(block: bytes, key: bytes) -> tuple[int, bytes] | None:
    """The (scheme's base, digest) of a C1 or S1 signed with ``key``, or None where it carries none."""
    for base in _SCHEMES:
        at = _digest_at(block, base)
        expected = _hmac(key, block[:at] + block[at + _DIGEST :])
        if hmac.compare_digest(block[at : at + _DIGEST], expected):
            return base, expected
    return None


def sign(block: bytes, base: int, key: bytes) -> bytes:
    """``block`` (1536 bytes) with its digest written where scheme ``base`` wants it."""
    at = _digest_at(block, base)
    return block[:at] + _hmac(key, block[:at] + block[at + _DIGEST :]) + block[at + _DIGEST :]


def answer(peer_digest: bytes, random: bytes, key: bytes) -> bytes:
    """C2 or S2 of the digest handshake: random bytes, signed with a key made of the peer's digest."""
    body = random[: SIZE - _DIGEST]
    return body + _hmac(_hmac(key, peer_digest), body)


class Handshake(ABC):
    """Common to both roles: collects bytes until the peer's blocks are whole."""

    def __init__(self, nonce: bytes) -> None:
        if len(nonce) < NONCE_BYTES:
            raise ValueError(f"the handshake wants {NONCE_BYTES} random bytes")
        self._nonce = nonce
        self._buffer = bytearray()
        self._out = bytearray()
        self._block: bytes | None = None
        self.done = False
        self.digest = False

    def data_to_send(self) -> bytes:
        """What to send now; empties the queue."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def feed(self, data: bytes | memoryview) -> bytes | None:
        """Take bytes; once ``done``, the bytes behind the handshake (else None). Raises ProtocolError."""
        buffer = self._buffer
        buffer += data
        if self._block is None:
            if buffer:
                self._check_version(buffer[0])
            if len(buffer) < 1 + SIZE:
                return None
            self._block = bytes(buffer[1 : 1 + SIZE])
            self._answer(self._block)
            del buffer[: 1 + SIZE]
        if len(buffer) < SIZE:
            return None
        # C2/S2 is not checked: clients in the field send anything there, and nothing depends on it.
        self.done = True
        rest = bytes(buffer[SIZE:])
        buffer.clear()
        return rest

    def _check_version(self, version: int) -> None:
        if version == VERSION:
            return
        if version in (6, 8):
            raise ProtocolError("RTMPE is not supported; use an rtmps:// address for an encrypted connection")
        if version == 0x16:
            raise ProtocolError("this is TLS, but the port is for plain RTMP; use the RTMPS port with rtmps://")
        if version in b"GPOH":
            raise ProtocolError("this is HTTP, but the port is for RTMP")
        raise ProtocolError(f"not RTMP: the first byte is {version} instead of 3")

    @abstractmethod
    def _answer(self, block: bytes) -> None:
        """The peer's C1 or S1 is whole: queue what it is owed."""


class ServerHandshake(Handshake):
    """Answers in the form the client chose. ``nonce``: 3072 random bytes; ``now_ms``: the time field of S1."""

    def __init__(self, nonce: bytes, now_ms: int = 0) -> None:
        super().__init__(nonce)
        self._now_ms = now_ms

    def _answer(self, block: bytes) -> None:
        time_field = (self._now_ms & 0xFFFFFFFF).to_bytes(4, "big")
        found = find_digest(block, _PLAYER_SHORT) if any(block[4:8]) else None
        random = self._nonce
        if found is None:
            # librtmp takes any version but zero for the digest form, so the simple form must say zero (§5.2.3).
            s1, s2 = time_field + bytes(4) + random[8:SIZE], block
        else:
            self.digest = True
            base, client_digest = found
            s1 = sign(time_field + b"\x04\x05\x00\x01" + random[8:SIZE], base, _SERVER_SHORT)
            s2 = answer(client_digest, random[SIZE:], _SERVER_KEY)
        self._out += bytes((VERSION,)) + s1 + s2


class ClientHandshake(Handshake):
    """Offers the digest form (unless ``digest`` is False) and goes along with servers that answer simply."""

    def __init__(self, nonce: bytes, now_ms: int = 0, *, digest: bool = True) -> None:
        super().__init__(nonce)
        time_field = (now_ms & 0xFFFFFFFF).to_bytes(4, "big")
        if digest:
            c1 = sign(time_field + b"\x09\x00\x7c\x02" + nonce[8:SIZE], _SCHEMES[0], _PLAYER_SHORT)
        else:
            c1 = time_field + bytes(4) + nonce[8:SIZE]
        self._offered = digest
        self._out += bytes((VERSION,)) + c1

    def _answer(self, block: bytes) -> None:
        found = find_digest(block, _SERVER_SHORT) if self._offered else None
        if found is None:
            self._out += block
        else:
            self.digest = True
            self._out += answer(found[1], self._nonce[SIZE:], _PLAYER_KEY)
