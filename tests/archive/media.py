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


def send(lease: Lease, clip: Path, *, offset_ms: int, from_ms: int, until_ms: int, now_ms: int) -> int:
    """Part of a clip in reads of 100 ms at its own pace, stamped later by ``offset_ms``; the time it ends at, in ms.

    The first media at or after ``from_ms`` arrives at ``now_ms``.
    """
    depacketizer = flv.Depacketizer(lease.timeline)
    read, packets = -1, []
    for tag in flv.TagReader().feed(clip.read_bytes()):
        is_header = tag.type_id != flv.SCRIPT and tag.body[1] == 0
        if tag.type_id == flv.SCRIPT or not (is_header or from_ms <= tag.timestamp < until_ms):
            continue
        if not is_header and (tag.timestamp - from_ms) // 100 != read:
            read = (tag.timestamp - from_ms) // 100
            if packets:
                lease.write(packets)
                packets = []
            lease.timeline.arrived(now_ms + read * 100)
        packet = depacketizer.feed(tag.type_id, (tag.timestamp + offset_ms) & 0xFFFFFFFF, tag.body)
        if packet is not None:
            packets.append(packet)
    if packets:
        lease.write(packets)
    return now_ms + until_ms - from_ms


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
