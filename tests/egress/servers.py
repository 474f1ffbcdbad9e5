"""Servers that are no good destinations, each in its own way, and the parts of a good one."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from relay.protocol.amf0 import encode
from relay.protocol.rtmp.chunk import write_message
from relay.protocol.rtmp.events import PublishRequested
from relay.protocol.rtmp.message import MessageType
from relay.protocol.rtmp.server import ServerConnection

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(converse: Converse) -> AsyncIterator[str]:
    """The URL of a server that treats each connection as ``converse`` does, then closes it."""
    tasks = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            await converse(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        try:
            yield f"rtmp://127.0.0.1:{listener.sockets[0].getsockname()[1]}/app"
        finally:
            await asyncio.gather(*filter(None, tasks))


async def never_handshakes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def never_answers_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Shakes hands and goes on reading, but no command is ever heard."""
    connection = ServerConnection(nonce=os.urandom(3072), now=0.0)
    connection.receive(await reader.readexactly(1537), 0.0)
    writer.write(connection.data_to_send())
    await reader.read()


async def refuses_the_app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = ServerConnection(nonce=os.urandom(3072), now=0.0)
    connection.receive(await reader.readexactly(1537), 0.0)
    writer.write(connection.data_to_send())
    await reader.readexactly(1536 + 100)
    why = {"level": "error", "code": "NetConnection.Connect.Rejected", "description": "no such application"}
    body = encode("_error", 1, None, why)
    writer.write(write_message(MessageType.COMMAND, 0, 0, body, chunk_size=128, csid=3))
    await reader.read()


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take one publish as a well-behaved server does; return once media may come."""
    connection = ServerConnection(nonce=os.urandom(3072), now=0.0)
    accepted = False
    while not accepted:
        for event in connection.receive(await reader.read(65536), 0.0):
            if isinstance(event, PublishRequested):
                connection.accept_publish(event.stream_id)
                accepted = True
        writer.write(connection.data_to_send())
    await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + bytes(4096))
    await reader.read()


async def garbage_after_the_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1537)
    writer.write(b"\3" + bytes(1536) + bytes(1536) + b"\xff" * 4000)
    await reader.read()


async def closes_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1)


async def resets_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)
