"""Publishers whose every message is one of a kind, which of them the relay acknowledged, and what became of those."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.listing import AUDIO, SCRIPT, VIDEO, Item, tags
from tests.support.publisher import Publisher, Refused

_STEP_MS = 34

_numbers = itertools.count()


class Counted(Publisher):
    """A publisher that knows which of what it sent is acknowledged."""

    @property
    def covered(self) -> list[Item]:
        """The access units that are acknowledged."""
        pairs = zip(self.sent.items, self.ends, strict=True)
        return [item for item, (end, _) in pairs if end <= self.acknowledged]

    async def go_on(self, clip: Path, stop: asyncio.Event, *, padding: int = 0) -> None:
        """Send ``clip`` in real time, over and over, until ``stop`` is set or the server closes."""
        started = time.monotonic()
        for type_id, stamp, body in endless(list(tags(clip.read_bytes())), padding):
            early = stamp / 1000 - (time.monotonic() - started)
            if early > 0.005:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), early)
            if stop.is_set() or self.ended is not None:
                return
            self.send_tag(type_id, stamp, body)
            if self._writer.transport.get_write_buffer_size() > 1 << 20:
                with contextlib.suppress(OSError):
                    await self._writer.drain()


def endless(all_tags: Sequence[tuple[int, int, bytes]], padding: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """``all_tags`` of an H.264 and AAC file for ever, times from 0 going on, each access unit unlike any other.

    ``padding``: so many bytes more in each video frame.
    """
    media = [tag for tag in all_tags if tag[0] != SCRIPT]
    first_ms = min(stamp for _, stamp, _ in media)
    length_ms = max(stamp for _, stamp, _ in media) - first_ms + _STEP_MS
    yield from ((type_id, 0, body) for type_id, _, body in all_tags if type_id == SCRIPT)
    for turn in itertools.count():
        for type_id, stamp, body in media:
            if body[1] == 1:
                body = _marked(type_id, body, padding)
            elif turn:
                continue  # the sequence headers, which are known by now
            yield type_id, stamp - first_ms + turn * length_ms, body


def _marked(type_id: int, body: bytes, padding: int) -> bytes:
    number = f"{next(_numbers):016x}".encode()
    if type_id == AUDIO:
        return body + number
    assert type_id == VIDEO
    unit = b"\x0c" + number + b"\xff" * padding + b"\x80"  # filler data, which decoders pass over (H.264, 7.3.2.7)
    return body + len(unit).to_bytes(4, "big") + unit


@dataclass
class Comparison:
    """What came of some publishers' messages, each list in the order they were sent."""

    lost: list[Item] = field(default_factory=list)  # acknowledged, and not in the archive
    missing: list[Item] = field(default_factory=list)  # sent, acknowledged or not, and not in the archive
    twice: int = 0
    invented: int = 0
    disordered: int = 0
    where: list[str] = field(default_factory=list)  # whose messages were lost, and which

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(
            self.lost + other.lost,
            self.missing + other.missing,
            self.twice + other.twice,
            self.invented + other.invented,
            self.disordered + other.disordered,
            self.where + other.where,
        )


def compare(publishers: Sequence[Counted], archived: Sequence[Item]) -> Comparison:
    """Those who published one channel one after the other, and all its archive holds."""
    order = {item.digest: place for place, item in enumerate(item for one in publishers for item in one.sent.items)}
    found = {item.digest for item in archived}
    known = [item for item in archived if item.digest in order]
    places = [[order[item.digest] for item in known if item.track == track] for track in ("video", "audio")]
    lost = [[item for item in one.covered if item.digest not in found] for one in publishers]
    where = [
        f"publisher {number} of {len(publishers)}: {len(gone)} of {len(one.covered)}, from {gone[0]} to {gone[-1]}"
        for number, (one, gone) in enumerate(zip(publishers, lost, strict=True))
        if gone
    ]
    return Comparison(
        lost=[item for gone in lost for item in gone],
        missing=[item for one in publishers for item in one.sent.items if item.digest not in found],
        twice=len(archived) - len(found),
        invented=len(archived) - len(known),
        disordered=sum(one >= other for run in places for one, other in itertools.pairwise(run)),
        where=where,
    )


async def try_to_open(url: str) -> Counted | None:
    """A publisher that is let in; None where the relay is gone before that."""
    publisher = Counted(url)
    try:
        await publisher.open()
    except (Refused, OSError, TimeoutError):
        return None
    return publisher
