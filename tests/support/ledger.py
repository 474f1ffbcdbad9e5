"""Ledger: what one encoder sent over all its connections, what of it was acknowledged, what the archive has of it."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise

import m3u8

from tests.support.listing import SCRIPT, VIDEO, Item, Listing
from tests.support.publisher import Publisher, Refused
from tests.support.recording import Recording

Tag = tuple[int, int, bytes]
FRAME_MS = 34
GAP_OVER_MS = 100


@dataclass
class Attempt:
    """One connection: its access units, where each ended (bytes, monotonic s), the last Acknowledgement.

    ``whole``: the relay took its goodbye and lived on, so all of it must be in the archive.
    """

    items: list[Item]
    ends: list[tuple[int, float]]
    acknowledged: int = 0
    whole: bool = False

    @property
    def covered(self) -> int:
        """How many of ``items`` the Acknowledgement covers."""
        return sum(1 for end, _ in self.ends if end <= self.acknowledged)


@dataclass
class Verdict:
    """What became of what was sent, in messages. All must be 0 but the first two, and the tail short."""

    sent: int = 0
    acknowledged: int = 0
    lost: int = 0  # acknowledged, and not in the archive
    duplicates: int = 0
    invented: int = 0  # in the archive, and never sent
    disordered: int = 0
    holes: int = 0  # missing, though something sent later on the same connection is there
    moved: int = 0  # not at the distance in time at which it was sent

    @property
    def violations(self) -> int:
        return sum(getattr(self, item.name) for item in fields(self)[2:])

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


def judge(attempts: Sequence[Attempt], got: Listing) -> Verdict:
    """Compare what one channel's encoder sent with what one channel's archive holds."""
    verdict = Verdict(sum(len(attempt.items) for attempt in attempts))
    where: dict[tuple[object, ...], tuple[int, int]] = {}
    for number, attempt in enumerate(attempts):
        for index, item in enumerate(attempt.items):
            assert where.setdefault(_face(item), (number, index)) == (number, index), "two packets sent look the same"
    counts = Counter(_face(item) for item in got.items)
    verdict.duplicates = sum(count - 1 for count in counts.values())
    verdict.invented = sum(count for face, count in counts.items() if face not in where)
    for name in ("video", "audio"):
        places = [where[_face(item)] for item in got.track(name) if _face(item) in where]
        verdict.disordered += sum(1 for one, other in pairwise(places) if other < one)
    for number, attempt in enumerate(attempts):
        there = [_face(item) in counts for item in attempt.items]
        must = len(there) if attempt.whole else attempt.covered
        verdict.acknowledged += attempt.covered
        verdict.lost += there[:must].count(False)
        verdict.holes += there[must : _last(there) + 1].count(False)
        own = [item for item in got.items if where.get(_face(item), (-1, 0))[0] == number]
        shifts = sorted(item.dts_ms - attempt.items[where[_face(item)][1]].dts_ms for item in own)
        verdict.moved += sum(1 for shift in shifts if abs(shift - shifts[len(shifts) // 2]) > 1)
    return verdict


def tail_s(attempt: Attempt, got: Listing, cut_at: float) -> float:
    """How long before ``cut_at`` (monotonic s) the first message that is not in the archive was sent; 0: none."""
    faces = {_face(item) for item in got.items}
    lost = next((at for item, (_, at) in zip(attempt.items, attempt.ends, strict=True) if _face(item) not in faces), 0)
    return max(0.0, cut_at - lost) if lost else 0.0


def untold_ms(recording: Recording, gap_s: float) -> float:
    """By how much media and gaps (seconds, as the catalog has them) miss the recording's length, in ms.

    And every hole over 100 ms must be a discontinuity; AssertionError where one is not.
    """
    segments = [item for item in m3u8.loads(recording.playlist).segments if not item.gap_tag]
    holes_ms = 0.0
    for one, other in pairwise(segments):
        between = other.program_date_time - one.program_date_time
        hole_ms = between.total_seconds() * 1000 - one.duration * 1000
        if hole_ms > GAP_OVER_MS:
            assert other.discontinuity, f"{hole_ms:.0f} ms missing before {other.uri}, and no discontinuity"
            holes_ms += hole_ms
        else:
            assert hole_ms > -FRAME_MS, f"{other.uri} begins {-hole_ms:.0f} ms before {one.uri} ends"
    return abs(holes_ms - gap_s * 1000)


def _face(item: Item) -> tuple[object, ...]:
    return item.track, item.cts_ms, item.is_keyframe, item.digest


def _last(there: Sequence[bool]) -> int:
    return max((index for index, found in enumerate(there) if found), default=-1)


@dataclass
class Encoder:
    """Sends ``tags`` (an FLV file's, picture and sound) once, over any number of connections, each from a keyframe."""

    url: str
    tags: list[Tag]
    attempts: list[Attempt] = field(default_factory=list)
    position: int = 0

    async def publish(self, speed: float, for_ms: int | None = None) -> None:
        """Connect and send at ``speed`` × real time: ``for_ms`` of media, then goodbye; or until the server is gone.

        Nothing is done where nothing is left to send.
        """
        tags = self._next()
        if not tags:
            return
        publisher = Publisher(self.url)
        attempt = Attempt(publisher.sent.items, publisher.ends)
        self.attempts.append(attempt)
        until_ms = None if for_ms is None else tags[0][1] + for_ms
        try:
            with contextlib.suppress(OSError, Refused):  # the server died, or does before long
                await publisher.open()
                try:
                    await publisher.send_tags(tags, speed=speed, until_ms=until_ms)
                    await publisher.close()
                except (OSError, Refused):
                    await publisher.abort()
        finally:
            self.position += len(attempt.items)
            attempt.acknowledged = publisher.acknowledged

    def _headers(self) -> list[Tag]:
        """Metadata and sequence headers, which every connection begins with."""
        return [tag for tag in self.tags[:3] if tag[0] == SCRIPT or tag[2][1] == 0]

    def _next(self) -> list[Tag]:
        """What is to be sent now: from the next keyframe on; empty at the end."""
        if self.position == 0:
            self.position = len(self._headers())
        while self.position < len(self.tags) and not _is_keyframe(self.tags[self.position]):
            self.position += 1
        if self.position == len(self.tags):
            return []
        stamp = self.tags[self.position][1]
        return [*((type_id, stamp, body) for type_id, _, body in self._headers()), *self.tags[self.position :]]


def _is_keyframe(tag: Tag) -> bool:
    return tag[0] == VIDEO and tag[2][0] >> 4 & 7 == 1 and tag[2][1] == 1
