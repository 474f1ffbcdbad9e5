"""Server and client connections joined in memory, byte by byte or in any cuts."""

import hashlib
from collections.abc import Sequence

from relay.protocol.rtmp import events
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.connection import Connection
from relay.protocol.rtmp.limits import RtmpLimits
from relay.protocol.rtmp.server import ServerConnection
from tests.protocol.captures import pieces


def nonce(seed: str) -> bytes:
    return b"".join(hashlib.sha256(f"{seed}{index}".encode()).digest() for index in range(96))


def make_server(limits: RtmpLimits | None = None) -> ServerConnection:
    return ServerConnection(nonce=nonce("server"), now=0.0, limits=limits)


def make_client(mode: str = "publish", **more: object) -> ClientConnection:
    values = {"app": "live", "tc_url": "rtmp://h/live", "stream_name": "KEY", **more}
    return ClientConnection(nonce=nonce("client"), now=0.0, mode=mode, **values)  # type: ignore[arg-type]


class Pair:
    """A server that accepts whatever is asked, and a client; ``run`` passes bytes until both fall silent."""

    def __init__(
        self, client: ClientConnection, server: ServerConnection | None = None, sizes: Sequence[int] = (1 << 20,)
    ) -> None:
        self.client = client
        self.server = server or make_server()
        self.sizes = list(sizes)
        self.at_client: list[events.Event] = []
        self.at_server: list[events.Event] = []

    def run(self) -> None:
        while True:
            up, down = self.client.data_to_send(), self.server.data_to_send()
            if not up and not down:
                return
            self._give(self.server, up, self.at_server)
            self._give(self.client, down, self.at_client)

    def _give(self, connection: Connection, data: bytes, into: list[events.Event]) -> None:
        for piece in pieces(data, self.sizes):
            for event in connection.receive(piece, 0.0):
                into.append(event)
                if isinstance(event, events.PublishRequested):
                    into += self.server.accept_publish(event.stream_id)
                elif isinstance(event, events.PlayRequested):
                    into += self.server.accept_play(event.stream_id)

    def server_saw(self, kind: type) -> list[events.Event]:
        return [event for event in self.at_server if isinstance(event, kind)]

    def client_saw(self, kind: type) -> list[events.Event]:
        return [event for event in self.at_client if isinstance(event, kind)]
