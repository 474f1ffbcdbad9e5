"""Hostile HTTP servers: where HLS is pushed to, pulled from, or webhooks are told; each misbehaves in its own way.

``HTTP_KINDS`` has them by name.
"""

import asyncio
import contextlib
import gzip
import re

from tests.support.hostile import Behave, Kind, Peer, Step, drip, half_close, kind, pour, reset

_OK = b"HTTP/1.1 200 OK\r\n"
_TEXT = _OK + b"Content-Type: text/plain\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_BOMB = gzip.compress(gzip.compress(bytes(200_000_000), 9), 9)
_CHUNK = b"10000\r\n" + bytes(65536) + b"\r\n"


async def request(peer: Peer) -> None:
    """Return once a whole request has come, its body of whichever form."""
    head = await peer.reader.readuntil(b"\r\n\r\n")
    found = _LENGTH.search(head)
    if found:
        await peer.reader.readexactly(int(found[1]))
    elif b"chunked" in head.lower():
        await peer.reader.readuntil(b"0\r\n\r\n")


def answer(*parts: bytes | Step) -> Behave:
    """Answer one request with bytes and deeds; then stay silent."""

    async def behave(peer: Peer) -> None:
        await request(peer)
        for part in parts:
            if isinstance(part, bytes):
                await peer.send(part)
            else:
                await part(peer)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                await peer.hush()

    return behave


async def nothing(peer: Peer) -> None:
    await peer.hush()


async def dawdle(peer: Peer) -> None:
    """Take a request a byte at a time."""
    async with asyncio.timeout(60):
        while True:
            await peer.reader.readexactly(1)
            await asyncio.sleep(0.05)


def status(code: int, more: str = "") -> bytes:
    return f"HTTP/1.1 {code} Whatever\r\nContent-Length: 0\r\nConnection: close\r\n{more}\r\n".encode()


def _any(behave: Behave, words: str, **more: object) -> Kind:
    """What becomes of it depends on who asks; ``words`` are a pattern of what all of them say."""
    return kind(behave, "any", words, **more)


_LATE = "did not answer|in time|exchange with"

HTTP_KINDS: dict[str, Kind] = {
    "silent": _any(nothing, _LATE),
    "takes a byte at a time": _any(dawdle, _LATE),
    "endless headers": _any(answer(_OK, pour(b"X-Header: 0123456789\r\n")), "exchange with|did not answer|answered"),
    "an endless header": _any(answer(_OK + b"X-Header: ", pour(b"0123456789abcdef")), "exchange with"),
    "an endless status line": _any(answer(b"HTTP/1.1 200 ", pour(b"OK OK OK ")), "exchange with"),
    "endless interim answers": _any(answer(pour(b"HTTP/1.1 102 Processing\r\n\r\n")), _LATE),
    "an endless body": _any(answer(_TEXT + b"\r\n", pour(bytes(65536))), ""),
    "an endless body in chunks": _any(answer(_TEXT + b"Transfer-Encoding: chunked\r\n\r\n", pour(_CHUNK)), ""),
    "an endless chunk extension": _any(
        answer(_TEXT + b"Transfer-Encoding: chunked\r\n\r\n5;a=", pour(b"0123456789abcdef")), ""
    ),
    "a body of 1 EB": _any(answer(_TEXT + b"Content-Length: 1000000000000000000\r\n\r\n", pour(bytes(65536))), ""),
    "slow headers": _any(answer(_OK, drip(b"X: 1\r\n")), _LATE),
    "a slow body": _any(answer(_TEXT + b"Content-Length: 100000\r\n\r\n", drip(b"#")), ""),
    "a gzip bomb": _any(
        answer(_TEXT + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_BOMB), _BOMB), ""
    ),
    "garbage": _any(answer(bytes(range(128, 256)) * 40), "exchange with"),
    "RTMP": _any(answer(b"\3" + bytes(3072)), "exchange with"),
    "half-closes": _any(answer(half_close), "exchange with"),
    "resets": _any(answer(reset), "exchange with"),
    "two lengths": _any(answer(_OK + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nhello"), "exchange with"),
    "500": _any(answer(status(500)), "500"),
    "429 for ever": _any(answer(status(429, "Retry-After: 99999999999999999999999999\r\n")), "429", rejects=True),
    "redirects to the host itself": _any(
        answer(status(302, "Location: http://127.0.0.1:1/latest/meta-data/\r\n")), "redirect|elsewhere|sends on",
        rejects=True,
    ),
    "redirects to a file": _any(
        answer(status(307, "Location: file:///etc/passwd\r\n")), "redirect|elsewhere|sends on", rejects=True
    ),
    "401": _any(answer(status(401)), "401", rejects=True),
}  # fmt: skip
