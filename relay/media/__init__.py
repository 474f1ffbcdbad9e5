"""What media is, decided once: tracks, packets, groups of pictures, timelines.

Floor 0: frozen values and small state on plain integers. No I/O, no clock, no protocol knowledge.
"""

from relay.media.gop import GopCache
from relay.media.packet import Codec, Packet, Track, TrackKind

__all__ = ["Codec", "GopCache", "Packet", "Track", "TrackKind"]
