"""GopCache: the packets since the last decodable start, so a new reader need not wait for the next one."""

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

    def add(self, packet: Packet) -> None:
        """Append one packet, starting afresh on a video keyframe."""
        if packet.is_keyframe and packet.is_video:
            self.packets = [packet]
            self._size = len(packet.data)
            return
        if not self.packets:
            return
        self._size += len(packet.data)
        if self._size > self._max_bytes:
            self.clear()
            return
        self.packets.append(packet)

    def clear(self) -> None:
        self.packets = []
        self._size = 0
