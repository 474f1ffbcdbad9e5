"""The rules of live playlists (draft-pantos-hls-rfc8216bis), checked over a whole run: one look at a time."""

import re
from dataclasses import dataclass, field
from datetime import datetime

_ONCE = (
    "#EXT-X-VERSION",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-DISCONTINUITY-SEQUENCE",
    "#EXT-X-SERVER-CONTROL",
    "#EXT-X-PART-INF",
)


@dataclass
class Part:
    uri: str
    duration_ms: int
    independent: bool
    gap: bool


@dataclass
class Segment:
    """``uri`` is empty for the one that is still being cut."""

    number: int
    uri: str = ""
    duration_ms: int = 0
    parts: list[Part] = field(default_factory=list)
    init: str = ""
    date: float | None = None
    discontinuity: bool = False
    gap: bool = False

    def told(self) -> tuple[object, ...]:
        """What may never change once it has been said."""
        return self.number, self.uri, self.duration_ms, self.init, self.discontinuity, self.gap


@dataclass
class Playlist:
    """What a media playlist says."""

    tags: dict[str, str] = field(default_factory=dict)
    control: dict[str, str] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    skipped: int = 0
    hint: str = ""
    reports: list[dict[str, str]] = field(default_factory=list)
    ends: bool = False

    @property
    def sequence(self) -> int:
        return int(self.tags["#EXT-X-MEDIA-SEQUENCE"])

    @property
    def target_ms(self) -> int:
        return 1000 * int(self.tags["#EXT-X-TARGETDURATION"])

    @property
    def part_target_ms(self) -> int:
        return round(1000 * float(attributes(self.tags["#EXT-X-PART-INF"])["PART-TARGET"]))

    @property
    def closed(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.uri]

    @property
    def parts(self) -> list[Part]:
        return [part for segment in self.segments for part in segment.parts]


def attributes(text: str) -> dict[str, str]:
    """An attribute list (§4.2)."""
    found = re.findall(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)', text)
    assert ",".join(f"{name}={value}" for name, value in found) == text, f"not an attribute list: {text}"
    assert len({name for name, _ in found}) == len(found), f"an attribute twice: {text}"
    return {name: value.strip('"') for name, value in found}


def _ms(text: str) -> int:
    return round(float(text) * 1000)


def read(text: str) -> Playlist:
    """A media playlist, each tag once where it must be. Raises AssertionError."""
    lines = text.split("\n")
    assert lines[0] == "#EXTM3U"
    assert lines[-1] == "", "the last line does not end"
    found = Playlist()
    init, number = "", 0
    current = Segment(0)
    for line in lines[1:-1]:
        tag, _, value = line.partition(":")
        if tag in _ONCE:
            assert tag not in found.tags, f"{tag} twice"
            assert not found.segments, f"{tag} behind a segment"
            found.tags[tag] = value
            if tag == "#EXT-X-MEDIA-SEQUENCE":
                number = int(value)
                current.number = number
        elif tag == "#EXT-X-SKIP":
            found.skipped = int(attributes(value)["SKIPPED-SEGMENTS"])
            number += found.skipped
            current.number = number
        elif tag == "#EXT-X-MAP":
            init = attributes(value)["URI"]
        elif tag == "#EXT-X-DISCONTINUITY":
            current.discontinuity = True
        elif tag == "#EXT-X-PROGRAM-DATE-TIME":
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value), value
            current.date = datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
        elif tag == "#EXT-X-GAP":
            current.gap = True
        elif tag == "#EXT-X-PART":
            own = attributes(value)
            gap, independent = own.get("GAP") == "YES", own.get("INDEPENDENT") == "YES"
            current.parts.append(Part(own["URI"], _ms(own["DURATION"]), independent, gap))
            current.init = init
        elif tag == "#EXTINF":
            assert re.fullmatch(r"\d+\.\d{3},", value), value
            current.duration_ms = _ms(value[:-1])
        elif tag == "#EXT-X-PRELOAD-HINT":
            assert not found.hint, "two hints"
            own = attributes(value)
            assert own["TYPE"] == "PART"
            found.hint = own["URI"]
        elif tag == "#EXT-X-RENDITION-REPORT":
            found.reports.append(attributes(value))
        elif tag == "#EXT-X-ENDLIST":
            found.ends = True
        else:
            assert not line.startswith("#"), f"unknown tag {line}"
            assert line, "an empty line"
            current.uri, current.init = line, init
            found.segments.append(current)
            number += 1
            current = Segment(number)
    if current.parts:
        found.segments.append(current)
    assert set(found.tags) == set(_ONCE)
    found.control = attributes(found.tags["#EXT-X-SERVER-CONTROL"])
    return found


def check(playlist: Playlist, *, steady: bool = True) -> None:
    """What must hold of one playlist by itself. ``steady``: the encoder's frames come at one pace."""
    target_ms, part_ms, control = playlist.target_ms, playlist.part_target_ms, playlist.control
    assert int(playlist.tags["#EXT-X-VERSION"]) >= (9 if playlist.skipped else 6)  # §7
    assert control["CAN-BLOCK-RELOAD"] == "YES"
    assert _ms(control["HOLD-BACK"]) >= 3 * target_ms  # §4.4.3.8
    assert _ms(control["PART-HOLD-BACK"]) >= 3 * part_ms
    assert _ms(control["CAN-SKIP-UNTIL"]) >= 6 * target_ms
    addresses = [segment.uri for segment in playlist.closed] + [part.uri for part in playlist.parts]
    assert len(set(addresses)) == len(addresses), "an address twice"
    assert playlist.hint not in addresses, "a hint at what is there"
    for segment in playlist.segments:
        assert (segment.duration_ms + 500) // 1000 * 1000 <= target_ms, f"{segment} is too long"  # §4.4.3.1
        assert segment.init or segment.gap or playlist.skipped, f"{segment} without init segment"
        assert not segment.discontinuity or segment.date is not None  # §6.2.1
        if segment.uri and segment.parts:
            assert sum(part.duration_ms for part in segment.parts) == segment.duration_ms, segment
        if steady:
            for part in segment.parts:
                assert part.duration_ms <= part_ms, f"{part} is longer than {part_ms}"  # §4.4.3.7
            for part in segment.parts[:-1]:
                assert part.duration_ms >= 0.85 * part_ms, f"{part} is shorter than 85 % of {part_ms}"
    date_ms: float | None = None
    for segment in playlist.segments:
        if segment.discontinuity:
            date_ms = None
        if segment.date is not None:
            assert date_ms is None or abs(date_ms - 1000 * segment.date) < 2, f"{segment}: the date does not go on"
            date_ms = 1000 * segment.date
        if date_ms is not None:
            date_ms += segment.duration_ms
    end = sum(segment.duration_ms or sum(part.duration_ms for part in segment.parts) for segment in playlist.segments)
    passed = 0
    for segment in playlist.closed:
        passed += segment.duration_ms
        if end - passed < 3 * target_ms and not playlist.skipped:
            assert segment.parts, f"{segment} has no parts any more"  # §6.2.2
        if end - passed > 3 * target_ms + target_ms:
            assert not segment.parts, f"{segment} still has parts"
    if playlist.ends:
        assert not playlist.hint
        assert all(segment.uri for segment in playlist.segments), "an end without the last segment"


class Watch:
    """One rendition over a run: what was said stays so, and only grows."""

    def __init__(self, *, steady: bool = True) -> None:
        self.steady = steady
        self.last: Playlist | None = None
        self.looks = 0
        self.segments: dict[int, Segment] = {}
        self.parts: dict[int, list[Part]] = {}
        self.hints: list[str] = []

    def see(self, text: str) -> Playlist:
        """Check the full playlist ``text`` against all that was seen before."""
        new = read(text)
        check(new, steady=self.steady)
        assert not new.skipped
        before, self.last = self.last, new
        self.looks += 1
        for segment in new.segments:
            parts = self.parts.setdefault(segment.number, [])
            if segment.parts:
                assert segment.parts[: len(parts)] == parts, f"parts of {segment.number} changed"
                parts.extend(segment.parts[len(parts) :])
            if segment.uri:
                known = self.segments.setdefault(segment.number, segment)
                assert known.told() == segment.told(), f"{known} became {segment}"
        if before is not None:
            self._grown(before, new)
        if new.hint:
            self.hints.append(new.hint)
        return new

    def _grown(self, before: Playlist, new: Playlist) -> None:
        for tag in ("#EXT-X-TARGETDURATION", "#EXT-X-PART-INF", "#EXT-X-SERVER-CONTROL"):
            assert before.tags[tag] == new.tags[tag], f"{tag} changed"
        assert not (before.ends and not new.ends)
        assert new.sequence >= before.sequence
        assert new.segments[-1].number >= before.segments[-1].number
        gone = [segment for segment in before.closed if segment.number < new.sequence]
        crossed = sum(segment.discontinuity for segment in gone)
        if gone:
            counted = int(new.tags["#EXT-X-DISCONTINUITY-SEQUENCE"])
            assert counted == int(before.tags["#EXT-X-DISCONTINUITY-SEQUENCE"]) + crossed
            assert sum(segment.duration_ms for segment in new.closed) >= 3 * new.target_ms  # §6.2.2

    def hints_kept(self) -> bool:
        """Whether each hint, but for the last, became a part."""
        addresses = {part.uri for parts in self.parts.values() for part in parts}
        return all(hint in addresses for hint in self.hints[:-1])


def expand(delta: str, full: Playlist) -> Playlist:
    """What a client has that applies a delta update (§6.2.5.1) to the ``full`` playlist it had."""
    new = read(delta)
    if new.skipped:
        known = {segment.number: segment for segment in full.segments}
        carried = [known[number] for number in range(new.sequence, new.sequence + new.skipped)]
        for segment in new.segments:
            segment.init = segment.init or carried[-1].init
        new.segments[:0] = carried
    return new
