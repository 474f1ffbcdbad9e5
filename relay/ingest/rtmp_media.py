"""Messages of one RTMP connection to packets, in order with what else it says: for publishers and for sources alike."""

from collections.abc import Callable, Sequence

from relay.media import Packet
from relay.protocol.flv import Depacketizer
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import Message


def deliver(
    received: Sequence[events.Event],
    depacketizer: Depacketizer,
    write: Callable[[list[Packet]], None],
    handle: Callable[[events.Event], None],
) -> None:
    """Give the packets of ``received`` to ``write``, in as few runs as its order allows, all else to ``handle``.

    Raises ProtocolError for a malformed message; what came whole before it is written all the same.
    """
    packets: list[Packet] = []
    feed, add = depacketizer.feed, packets.append
    try:
        for event in received:
            if type(event) is Message:
                packet = feed(event.type_id, event.timestamp, event.payload)
                if packet is not None:
                    add(packet)
            else:
                # A goodbye often comes in the same read as the last frames: they come first.
                if packets:
                    write(packets)
                    packets = []
                    add = packets.append
                handle(event)
    finally:
        if packets:
            write(packets)
