"""stub"""

from relay.media import Packet


def frozen(packet: Packet) -> tuple[Packet, ...]:
    return (packet, packet)
