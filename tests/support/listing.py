"""Lists of what was sent, received and kept, read without the relay's own FLV code, and how they compare."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

AUDIO, VIDEO, SCRIPT = 8, 9, 18


class Item(NamedTuple):
    """One access unit: ``track`` is "video" or "audio", times in ms, ``digest`` the SHA-256 of its payload."""

    track: str
    dts_ms: int
    cts_ms: int
    is_keyframe: bool
    digest: str


@dataclass
class Listing:
    """Access units in the order they came, and the sequence headers between them as (position, track, digest)."""

    items: list[Item] = field(default_factory=list)
    headers: list[tuple[int, str, str]] = field(default_factory=list)
    metadata: int = 0

    def track(self, name: str) -> list[Item]:
        return [item for item in self.items if item.track == name]

    def add(self, type_id: int, timestamp: int, body: bytes) -> None:
        """Take one FLV tag or RTMP message."""
        if type_id == SCRIPT:
            self.metadata += 1
            return
        if type_id not in (AUDIO, VIDEO) or not body:
            return
        track = "video" if type_id == VIDEO else "audio"
        kind, cts, is_keyframe, payload = (_video if type_id == VIDEO else _audio)(body)
        if kind == "header":
            self.headers.append((len(self.items), track, digest(payload)))
        elif kind == "frame":
            self.items.append(Item(track, timestamp, cts, is_keyframe, digest(payload)))


def digest(payload: bytes | memoryview) -> str:
    return hashlib.sha256(payload).hexdigest()


def _signed24(data: bytes) -> int:
    value = int.from_bytes(data, "big")
    return value - (1 << 24) if value & 0x800000 else value


def _video(body: bytes) -> tuple[str, int, bool, memoryview]:
    """(kind, CTS, keyframe, payload) of a VIDEODATA body; Enhanced RTMP v1 and v2 without multitrack."""
    view = memoryview(body)
    first = body[0]
    frame_type = first >> 4 & 7
    key = frame_type == 1
    if first & 0x80:
        packet_type = first & 15
        at = 1
        while packet_type == 7:  # ModEx: size, data, then the next type
            size = body[at] + 1
            at += 1
            if size == 256:
                size = int.from_bytes(body[at : at + 2], "big") + 1
                at += 2
            packet_type = body[at + size] & 15
            at += size + 1
        fourcc = body[at : at + 4]
        at += 4
        if packet_type == 0:
            return "header", 0, key, view[at:]
        if packet_type == 1 and fourcc in (b"avc1", b"hvc1", b"vvc1"):
            return "frame", _signed24(body[at : at + 3]), key, view[at + 3 :]
        if packet_type in (1, 3):
            return "frame", 0, key, view[at:]
        return "other", 0, False, view[at:]
    if frame_type == 5:
        return "other", 0, False, view[1:]
    if first & 15 in (7, 12):
        kind = {0: "header", 1: "frame"}.get(body[1], "other")
        return kind, _signed24(body[2:5]) if kind == "frame" else 0, key, view[5:]
    return "frame", 0, key, view[1:]


def _audio(body: bytes) -> tuple[str, int, bool, memoryview]:
    view = memoryview(body)
    sound = body[0] >> 4
    if sound == 9:
        kind = {0: "header", 1: "frame"}.get(body[0] & 15, "other")
        return kind, 0, True, view[5:]
    if sound == 10:
        return ("frame" if body[1] else "header"), 0, True, view[2:]
    return "frame", 0, True, view[1:]


def tags(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, timestamp ms, body) of each tag of an FLV file."""
    assert data[:3] == b"FLV", "not an FLV file"
    position = int.from_bytes(data[5:9], "big") + 4
    while position + 11 <= len(data):
        length = int.from_bytes(data[position + 1 : position + 4], "big")
        stamp = int.from_bytes(data[position + 4 : position + 7], "big") | data[position + 7] << 24
        yield data[position], stamp, data[position + 11 : position + 11 + length]
        position += 11 + length + 4


def read_flv(source: Path | bytes) -> Listing:
    listing = Listing()
    for tag in tags(source if isinstance(source, bytes) else source.read_bytes()):
        listing.add(*tag)
    return listing


def lost(sent: Sequence[Item], got: Sequence[Item]) -> int:
    """How many of ``sent`` are not in ``got``, from the first that is."""
    digests = {item.digest for item in got}
    if not digests:
        return len(sent)
    start = next((index for index, item in enumerate(sent) if item.digest in digests), len(sent))
    return sum(1 for item in sent[start:] if item.digest not in digests)


def assert_same(sent: Listing, got: Listing, what: str, *, late_ms: int = 0) -> None:
    """``got`` is what was sent: every packet once, same bytes, same order per track, same distances in time.

    The archive has ``late_ms=0``: all of it. A destination connects when a stream goes live and starts at the
    keyframe the GOP cache holds by then: its first packet is a video keyframe at most ``late_ms`` of media after
    the publisher's first, and nothing sent after that keyframe is missing, video or audio. Without video it
    starts anywhere within ``late_ms``.
    """
    start = 0
    for name in ("video", "audio"):
        there, here = sent.track(name), got.track(name)
        if not there:
            assert not here, f"{what}: {len(here)} {name} packets nobody sent"
            continue
        assert here, f"{what}: no {name} at all of {len(there)} packets"
        if late_ms and (name == "video" or not sent.track("video")):
            skipped = len(there) - len(here)
            assert skipped >= 0, f"{what}: {-skipped} {name} packets too many"
            start = sent.items.index(there[skipped])
            late = there[skipped].dts_ms - there[0].dts_ms
            assert late <= late_ms, f"{what}: {name} begins {late} ms in, {lost(there, here)} lost after"
            assert there[skipped].is_keyframe, (
                f"{what}: {name} is not a whole run from a keyframe on; {lost(there, here)} lost of {len(there)}"
            )
        expected = [item for item in sent.items[start:] if item.track == name]
        assert [item.digest for item in here] == [item.digest for item in expected], (
            f"{what}: {name} differs: {len(expected)} packets expected, {len(here)} got, "
            f"{lost(expected, here)} lost; first difference at {_first_difference(expected, here)}"
        )
        assert [item.is_keyframe for item in here] == [item.is_keyframe for item in expected], f"{what}: {name}"
        assert [item.cts_ms for item in here] == [item.cts_ms for item in expected], f"{what}: {name} CTS"
        distances = {item.dts_ms - other.dts_ms for item, other in zip(here, expected, strict=True)}
        assert max(distances) - min(distances) <= 1, f"{what}: {name} times moved by {sorted(distances)}"


def _first_difference(expected: Sequence[Item], here: Sequence[Item]) -> str:
    for index, (one, other) in enumerate(zip(expected, here, strict=False)):
        if one.digest != other.digest:
            return f"{index}: {one} sent, {other} got"
    return "the end"
