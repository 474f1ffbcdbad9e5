"""The states of both RTMP conversations, as tables; the diagrams in the documentation are drawn from them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from relay.errors import ProtocolError


class ServerState(StrEnum):
    """Where a conversation with an encoder or player stands."""

    HANDSHAKE = "handshake"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DECIDING = "deciding"  # publish or play was asked for and not yet answered
    PUBLISHING = "publishing"
    PLAYING = "playing"
    CLOSED = "closed"


class ClientState(StrEnum):
    """Where a conversation with a destination stands; the names double as phases in error messages."""

    HANDSHAKE = "handshake"
    CONNECT = "connect"
    PUBLISH = "publish"
    LIVE = "live"
    CLOSED = "closed"


SERVER: Mapping[ServerState, Mapping[str, ServerState]] = {
    ServerState.HANDSHAKE: {"handshaken": ServerState.CONNECTING, "close": ServerState.CLOSED},
    ServerState.CONNECTING: {"connect": ServerState.CONNECTED, "close": ServerState.CLOSED},
    ServerState.CONNECTED: {
        "ask": ServerState.DECIDING,
        "close": ServerState.CLOSED,
    },
    ServerState.DECIDING: {
        "accept_publish": ServerState.PUBLISHING,
        "accept_play": ServerState.PLAYING,
        "refuse": ServerState.CONNECTED,
        "close": ServerState.CLOSED,
    },
    ServerState.PUBLISHING: {"stop": ServerState.CONNECTED, "close": ServerState.CLOSED},
    ServerState.PLAYING: {"stop": ServerState.CONNECTED, "close": ServerState.CLOSED},
    ServerState.CLOSED: {"close": ServerState.CLOSED},
}

CLIENT: Mapping[ClientState, Mapping[str, ClientState]] = {
    ClientState.HANDSHAKE: {"handshaken": ClientState.CONNECT, "close": ClientState.CLOSED},
    ClientState.CONNECT: {"connected": ClientState.PUBLISH, "close": ClientState.CLOSED},
    ClientState.PUBLISH: {"established": ClientState.LIVE, "close": ClientState.CLOSED},
    ClientState.LIVE: {"close": ClientState.CLOSED},
    ClientState.CLOSED: {"close": ClientState.CLOSED},
}

State = TypeVar("State", bound=StrEnum)


def step(table: Mapping[State, Mapping[str, State]], state: State, trigger: str) -> State:
    """The state after ``trigger``. Raises ProtocolError where the table has no such step."""
    following = table[state].get(trigger)
    if following is None:
        raise ProtocolError(f"{trigger} does not fit a connection that is {state}")
    return following


def diagram(table: Mapping[State, Mapping[str, State]]) -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for state, steps in table.items():
        lines += [f"    {state} --> {following}: {trigger}" for trigger, following in steps.items()]
    return "\n".join(lines)
