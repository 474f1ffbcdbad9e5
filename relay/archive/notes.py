"""Notes: what publishers wanted kept beside their packets, as the catalog and the spool have it, put together."""

import json
from collections.abc import Iterable, Sequence

from relay.hub.batch import Note

MOST_NOTES = 1000  # a publisher sends again what is minutes old, not days


def dumped(notes: Sequence[Note]) -> str:
    """The notes of one segment for the catalog: JSON, or nothing where there are none."""
    return json.dumps(notes) if notes else ""


def loaded(text: str) -> list[Note]:
    """What ``dumped`` made."""
    return [Note(str(note), int(packets)) for note, packets in json.loads(text)] if text else []


def merged(parts: Iterable[Sequence[Note]]) -> list[Note]:
    """The notes of parts in order; of one whose packets are in several that follow each other, their sum."""
    found: list[Note] = []
    for notes in parts:
        for index, note in enumerate(notes):
            if index == 0 and found and found[-1].text == note.text:
                found[-1] = Note(note.text, found[-1].packets + note.packets)
            else:
                found.append(note)
    return found
