"""Segment: one piece of an HLS publisher's media as it arrives, and what its name tells of its place."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from relay.hub.batch import Note
from relay.media import Packet

Notes = Callable[[str], Awaitable[Sequence[Note]]]
"""What an earlier run of the relay has on disk of a channel, oldest first (archive)."""

Backfill = Callable[[str, Sequence[Packet], str], Awaitable[bool]]
"""Puts (channel, packets, note) into its place in the recording, durably; False where there is none (archive)."""

UNNUMBERED = -1
_DIGITS = re.compile(r"[0-9]+")
_MOST_DIGITS = 18
_LONGEST_NAME = 120  # a note has up to 1,000 characters, escapes included


class Outcome(StrEnum):
    """What became of a segment: it is on the stream, it was there already, or it went to its place afterwards."""

    STORED = "stored"
    KNOWN = "known"
    BACKFILLED = "backfilled"


@dataclass(frozen=True, slots=True)
class Segment:
    """``number``: its place among those of ``track`` (a name; publishers with one object per segment have one track),
    or UNNUMBERED. ``init``: the init segment it needs, empty for MPEG-TS.

    ``is_discontinuity``: its clock is known not to go on where the one before it ended.
    """

    number: int
    name: str
    data: bytes
    init: bytes = b""
    is_discontinuity: bool = False
    track: str = ""


class Key(NamedTuple):
    """What makes two uploads the same segment."""

    name: str
    sha256: str

    def note(self) -> str:
        """As written to disk."""
        return json.dumps(self._asdict(), separators=(",", ":"), ensure_ascii=False)


def key_of(segment: Segment) -> Key:
    """The key of ``segment``; very long names are told apart by their hash alone."""
    return Key(segment.name[-_LONGEST_NAME:], hashlib.sha256(segment.data).hexdigest()[:16])


def read_note(text: str) -> Key | None:
    """The key in a note, or None where it is somebody else's."""
    try:
        found = json.loads(text)
        key = Key(found["name"], found["sha256"])
    except (ValueError, TypeError, KeyError):
        return None
    return key if isinstance(key.name, str) and isinstance(key.sha256, str) else None


def split_name(name: str) -> tuple[str, int]:
    """(the track a name belongs to, its number): the last group of digits before the extension is the number.

    Names with none are UNNUMBERED, all on the one track "", and so are those whose digits are too many to count by.
    """
    stem_end = name.rfind(".")
    if stem_end <= name.rfind("/") + 1:
        stem_end = len(name)
    groups = [match for match in _DIGITS.finditer(name, 0, stem_end) if match.start() > name.rfind("/", 0, stem_end)]
    if not groups or len(groups[-1].group()) > _MOST_DIGITS:
        return "", UNNUMBERED
    number = groups[-1]
    return f"{name[: number.start()]}#{name[number.end() :]}", int(number.group())
