"""Ready: an answer made bytes once, head and all, and sent to any number of viewers by one write each."""

from email.utils import formatdate

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

SECURITY = {
    "Content-Security-Policy": "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""What every answer says, whoever asks for whatever."""


class Ready(web.StreamResponse):
    """A 200 answer to GET on a connection that stays open; ``whole`` is what goes over the wire.

    Five hundred viewers wait for the same part: what aiohttp does for each answer would take longer than the part.
    """

    def __init__(self, whole: bytes) -> None:
        super().__init__()
        self._whole = whole

    @staticmethod
    def bytes_of(body: bytes, headers: dict[str, str]) -> bytes:
        """Status line, ``headers`` and those every answer has, and ``body``."""
        lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in {**headers, **SECURITY}.items()]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    @staticmethod
    def fits(request: web.BaseRequest) -> bool:
        """Whether ``request`` can have such an answer."""
        return request.method == "GET" and request.keep_alive and request.version >= (1, 1)

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the viewer is gone")
        transport.write(self._whole)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """All of it is written."""
