"""stub"""

from dataclasses import dataclass
from pathlib import Path

from relay.errors import MediaError
from relay.media import Packet, Track


@dataclass
class Slate:
    packets: list[Packet]
    length_ms: int


def make_slate(path: Path, video: Track, audio: Track | None) -> Slate:
    raise MediaError("not yet")
