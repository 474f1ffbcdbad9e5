"""Real media for archive tests: clips through the FLV reader, onto a hub stream, in ticks as a publisher writes."""

from collections.abc import Sequence
from pathlib import Path

from relay.hub import Hub
from relay.hub.hub import Lease
from relay.media import Packet
from relay.media.timeline import Timeline
from relay.protocol import flv


class Connection:
    """The publisher behind a lease: remembers what it was told."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.reasons: list[str] = []

    def evicted(self, reason: str) -> None:
        self.reasons.append(reason)

    def committed(self, seq: int) -> None:
        self.acknowledged.append(seq)


def read_packets(clip: Path, timeline: Timeline | None = None) -> list[Packet]:
    """Every packet of an FLV file, as a publisher's connection would make them."""
    depacketizer = flv.Depacketizer(timeline or Timeline())
    found = []
    for tag in flv.TagReader().feed(clip.read_bytes()):
        packet = None if tag.type_id == flv.SCRIPT else depacketizer.feed(tag.type_id, tag.timestamp, tag.body)
        if packet is not None:
            found.append(packet)
    return found


def shifted(packets: Sequence[Packet], by_ms: int) -> list[Packet]:
    return [packet._replace(dts_ms=packet.dts_ms + by_ms, pts_ms=packet.pts_ms + by_ms) for packet in packets]


def batches(packets: Sequence[Packet], tick_ms: int = 100) -> list[list[Packet]]:
    """``packets`` as ticks of media time."""
    found: list[list[Packet]] = []
    tick = None
    for packet in packets:
        now = packet.dts_ms // tick_ms
        if now != tick:
            found.append([])
            tick = now
        found[-1].append(packet)
    return found


def publish(hub: Hub, channel: str, packets: Sequence[Packet]) -> tuple[Lease, Connection]:
    """Write everything at once, batch by batch, and stay connected."""
    connection = Connection()
    lease = hub.publish(channel, connection)
    for batch in batches(packets):
        lease.write(batch)
    return lease, connection
