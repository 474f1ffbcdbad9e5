"""Listening: sockets for strangers, with TLS where there is a certificate, and errors that name the setting."""

import asyncio
import ssl
from collections.abc import Callable

from relay.config import split_address
from relay.errors import ConfigError


async def listen(
    connect: Callable[[], asyncio.BaseProtocol],
    address: str,
    tls: ssl.SSLContext | None,
    *,
    what: str,
    setting: str,
    handshake_s: float,
) -> tuple[asyncio.Server, int]:
    """A listener, and its port: the one asked for, or what the system chose for 0. TLS has ``handshake_s`` to begin.

    Raises ConfigError saying ``what`` cannot be listened for and which ``setting`` (``section.key``) to change.
    """
    host, port = split_address(address)
    try:
        server = await asyncio.get_running_loop().create_server(
            connect,
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=handshake_s if tls else None,
            backlog=1024,
            reuse_address=True,
        )
    except OSError as error:
        variable = f"RELAY_{setting.replace('.', '__').upper()}"
        raise ConfigError(
            f"cannot listen for {what} on {address}: {error.strerror or error}; "
            f"set {variable} (or {setting} in the settings file) to a free address"
        ) from error
    return server, int(server.sockets[0].getsockname()[1])


class Quiet:
    """A logger for aiohttp: faults of clients are not ours to log, and their addresses have keys in them."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None
