"""One connection to a relay, over a plain blocking socket: dialled, greeted, published, looked at."""

import os
import socket
import struct
import time

from relay.protocol.amf0 import encode
from relay.protocol.rtmp.chunk import write_message
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.events import Established, Rejected

GREETING = b"\x03" + bytes(8) + os.urandom(1528)
CONNECT = write_message(
    20, 0, 0, encode("connect", 1, {"app": "live", "tcUrl": "rtmp://h/live"}), chunk_size=128, csid=3
)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST, leaving nothing behind in TIME_WAIT


def address(number: int) -> str:
    """A loopback address of its own for each of 64,000 strangers."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def dial(port: int, number: int | None = None, timeout: float = 10.0) -> socket.socket:
    """A connection from ``address(number)``, or from where everybody is."""
    made = socket.socket()
    made.settimeout(timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if number is not None:
        made.bind((address(number), 0))
    try:
        made.connect(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made


def greet(made: socket.socket) -> None:
    """The handshake."""
    made.sendall(GREETING)
    answer = 0
    while answer < 1 + 2 * 1536:
        data = made.recv(4096)
        if not data:
            raise ConnectionError("closed in the handshake")
        answer += len(data)
    made.sendall(GREETING[1:])


def publish(port: int, key: str, number: int | None = None) -> socket.socket:
    """A connection that publishes with ``key``. Raises ConnectionError where it may not."""
    made = dial(port, number)
    told = ask(made, key)
    if told != "Established":
        raise ConnectionError(told)
    return made


def ask(made: socket.socket, key: str) -> str:
    """Connect and publish on ``made``: Established, the words of a refusal, or "" where it was just closed."""
    client = ClientConnection(
        app="live", tc_url="rtmp://h/live", stream_name=key, nonce=os.urandom(3072), now=0.0, digest=False
    )
    while True:
        made.sendall(client.data_to_send())
        data = made.recv(65536)
        if not data:
            return ""
        for event in client.receive(data, 0.0):
            if isinstance(event, Established):
                return "Established"
            if isinstance(event, Rejected):
                return event.description


def is_closed(made: socket.socket, within: float) -> bool:
    """Whether the relay ends it, whatever it says before that."""
    until = time.monotonic() + within
    while (left := until - time.monotonic()) > 0:
        made.settimeout(left)
        try:
            if not made.recv(65536):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False
