"""What RTMP connections report: frozen values in the past tense. Media travels as the Message itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from relay.protocol.amf0 import AmfValue
from relay.protocol.rtmp.chunk import Message


@dataclass(frozen=True, slots=True)
class Connected:
    """connect (§7.2.1.1) arrived and was answered: who may do what is settled at publish and play."""

    app: str
    tc_url: str
    flash_ver: str
    object_encoding: int
    fourccs: tuple[str, ...]  # what an Enhanced RTMP client says it can do
    properties: Mapping[str, AmfValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishRequested:
    """publish (§7.2.2.6) arrived; answer with accept_publish or refuse_publish."""

    stream_id: int
    name: str
    kind: str  # live, record or append


@dataclass(frozen=True, slots=True)
class PlayRequested:
    """play (§7.2.2.1) arrived; answer with accept_play or refuse_play. ``start``: seconds, or -2, -1 as sent."""

    stream_id: int
    name: str
    start: float


@dataclass(frozen=True, slots=True)
class Unpublished:
    """The publisher said goodbye: FCUnpublish, deleteStream or closeStream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class PlayStopped:
    """The player closed its stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class MetadataReceived:
    """onMetaData arrived."""

    stream_id: int
    values: Mapping[str, AmfValue]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The peer has received this many bytes, modulo 2^32 (§5.4.3)."""

    sequence: int


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The peer answered a ping sent with this time in ms."""

    timestamp: int


@dataclass(frozen=True, slots=True)
class Established:
    """Client: the server took the publish or play request."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Client: the server refused. ``final``: the same request will be refused again."""

    code: str
    description: str
    final: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """Client: the server ended what was established."""

    code: str
    description: str


Event: TypeAlias = (
    Message
    | Connected
    | PublishRequested
    | PlayRequested
    | Unpublished
    | PlayStopped
    | MetadataReceived
    | Acknowledged
    | PongReceived
    | Established
    | Rejected
    | Ended
)
