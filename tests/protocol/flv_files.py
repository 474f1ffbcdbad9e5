"""Captured FLV files as the packets in them."""

from collections.abc import Iterable

from relay.media import Packet
from relay.media.timeline import FileClock
from relay.protocol.flv import SCRIPT, Depacketizer, Tag, TagReader
from tests.protocol.captures import flv_file


def read_file(name: str) -> tuple[list[Packet], Depacketizer]:
    """Every packet of a captured FLV file, and what read them."""
    depacketizer = Depacketizer(FileClock())
    return _packets(TagReader().feed(flv_file(name)), depacketizer), depacketizer


def packets_of(tags: Iterable[Tag]) -> list[Packet]:
    """The packets in ``tags``, as a publisher's connection would make them."""
    return _packets(tags, Depacketizer(FileClock()))


def _packets(tags: Iterable[Tag], depacketizer: Depacketizer) -> list[Packet]:
    found = [depacketizer.feed(tag.type_id, tag.timestamp, tag.body) for tag in tags if tag.type_id != SCRIPT]
    return [packet for packet in found if packet is not None]
