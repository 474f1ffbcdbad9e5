"""GopCache: the packets since the last decodable start, so a new reader need not wait for the next one."""

from collections.abc import Sequence

from relay.media.packet import Packet


class GopCache:
    """Keeps what follows the newest keyframe, up to ``max_bytes``; past that it holds nothing until the next.

    A stream without video keeps nothing: any audio packet is a decodable start.
    """

    __slots__ = ("_max_bytes", "_size", "packets")

    def __init__(self, max_bytes: int = 8 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self.packets: list[Packet] = []

    def extend(self, packets: Sequence[Packet], size: int, last_keyframe: int) -> None:
        """Append packets of ``size`` bytes; ``last_keyframe`` is the index of their last video keyframe, or -1."""
        if last_keyframe >= 0:
            self.packets = list(packets[last_keyframe:])
            self._size = sum(len(packet.data) for packet in self.packets)
        elif self.packets:
            self._size += size
            self.packets += packets
        if self._size > self._max_bytes:
            self.clear()

    def clear(self) -> None:
        self.packets = []
        self._size = 0
