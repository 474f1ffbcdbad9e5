"""stub"""

from dataclasses import dataclass

from relay.media import Codec, Track
from relay.protocol import codecs

SILENT_AAC = codecs.read_track(Codec.AAC, bytes((0x11, 0x90)))


@dataclass(frozen=True)
class Silence:
    data: bytes
    duration_ms: float


def silence(track: Track) -> "Silence | None":
    return (
        Silence(bytes.fromhex("210004600000 1c".replace(" ", "")), 1024000 / 48000)
        if track.codec is Codec.AAC
        else None
    )
