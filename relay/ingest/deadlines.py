"""Deadlines of an RTMP connection: how long each stage of it may take, and what ends it when it took longer."""

from enum import Enum, auto
from typing import NamedTuple

from relay.config import LimitSettings


class Stage(Enum):
    """What is waited for."""

    CONNECT = auto()  # TLS, the handshake and connect
    MEDIA = auto()  # publish or play, then the first media
    MORE = auto()  # of a publisher: its next media
    AGAIN = auto()  # a publisher that stopped publishing: its next try


class Overdue(NamedTuple):
    """``limit`` is the short name it is counted under ("": none), ``reason`` what the peer is told."""

    limit: str
    reason: str
    clean: bool = False


def overdue(stage: Stage, waited_s: float, limits: LimitSettings) -> Overdue | None:
    """Why a connection that has been in ``stage`` for ``waited_s`` ends now; None where it may go on."""
    match stage:
        case Stage.CONNECT if waited_s > limits.handshake_s:
            return Overdue("handshake", f"no RTMP handshake and connect within {limits.handshake_s:g} s")
        case Stage.MEDIA if waited_s > limits.first_media_s:
            return Overdue("first_media", f"no media within {limits.first_media_s:g} s of connecting")
        case Stage.MORE if waited_s > limits.media_closed_s:
            return Overdue("media_idle", f"no media for {limits.media_closed_s:g} s")
        case Stage.AGAIN if waited_s > limits.first_media_s:
            return Overdue("", "idle after unpublishing", clean=True)
    return None
