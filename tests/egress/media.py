"""A channel with a publisher for egress tests: packets of a real clip, or made-up ones of any size."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from relay.hub import Hub, Lease, Stream
from relay.media import Codec, Packet, Track
from relay.media.timeline import Timeline
from relay.protocol.flv import Depacketizer
from tests.support.listing import SCRIPT, Item, Listing, digest, tags

VIDEO = Track(codec=Codec.H264, header=b"\x01\x42\xc0\x1e\xff\xe1\x00\x04\x67\x42\xc0\x1e\x01\x00\x02\x68\xce")
AUDIO = Track(codec=Codec.AAC, header=b"\x11\x90")
GOP = 10
FRAME_MS = 40


def packets_of(path: Path) -> list[Packet]:
    """The packets of an FLV file, as a publisher's connection would make them."""
    depacketizer = Depacketizer(Timeline())
    made = [depacketizer.feed(kind, stamp, body) for kind, stamp, body in tags(path.read_bytes()) if kind != SCRIPT]
    return [packet for packet in made if packet is not None]


def listing_of(packets: Sequence[Packet]) -> Listing:
    """What ``packets`` are, in the form a destination's list of arrivals has."""
    return Listing(
        [
            Item(
                "video" if packet.is_video else "audio",
                packet.dts_ms,
                packet.pts_ms - packet.dts_ms,
                packet.is_keyframe,
                digest(packet.data),
            )
            for packet in packets
        ]
    )


class Programme:
    """One channel on air (hub.Publisher): ``frames`` writes media and keeps what it wrote in ``written``."""

    def __init__(self, hub: Hub | None = None, name: str = "talk") -> None:
        self.hub = hub or Hub(hold_s=60)
        self.name = name
        self.written: list[Packet] = []
        self.lease: Lease = self.hub.publish(name, self)

    @property
    def stream(self) -> Stream:
        return self.lease.stream

    def evicted(self, reason: str) -> None:
        """Nothing to close."""

    def committed(self, seq: int) -> None:
        """Nobody to tell."""

    def write(self, packets: Sequence[Packet]) -> None:
        self.written += packets
        self.lease.write(packets)

    def frames(self, count: int, size: int = 200) -> None:
        """``count`` video frames of ``size`` bytes, each with its audio; every GOP-th one is a keyframe."""
        for _ in range(count):
            number = len(self.written) // 2
            dts_ms = number * FRAME_MS
            mark = number.to_bytes(4, "big")
            picture = Packet(VIDEO, dts_ms, dts_ms, number % GOP == 0, mark + bytes(size))
            self.write([picture, Packet(AUDIO, dts_ms + 1, dts_ms + 1, True, b"a" + mark)])

    async def on_air(self, until: Callable[[], object], size: int = 200, within: float = 20.0) -> None:
        """Write a frame every few milliseconds until ``until()`` is true."""
        async with asyncio.timeout(within):
            while not until():
                self.frames(1, size)
                await asyncio.sleep(0.004)

    def leave(self, *, clean: bool = True) -> None:
        self.lease.release(clean=clean)

    def return_(self) -> None:
        """A new connection of the same publisher."""
        self.lease = self.hub.publish(self.name, self)


async def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
    """Return once ``condition()`` is true."""
    until = asyncio.get_running_loop().time() + within
    while not condition():
        assert asyncio.get_running_loop().time() < until, f"not so after {within} s"
        await asyncio.sleep(0.01)
