"""Notes: what publishers wanted kept beside their packets, as the catalog and the spool have it, put together."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from relay.archive import upkeep
from relay.database import RecordingsRepo
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


async def kept(recording: str, folder: Path, catalog: RecordingsRepo, threads: Executor) -> list[Note]:
    """What is on disk of ``recording`` with its notes, oldest first: in the parts in ``folder``, and packaged."""
    # The parts first: what is packaged and removed meanwhile is in the catalog by then.
    parts = await asyncio.get_running_loop().run_in_executor(threads, upkeep.noted, folder, MOST_NOTES)
    parts |= {number: loaded(text) for number, text in await catalog.notes(recording, MOST_NOTES)}
    return merged(parts[number] for number in sorted(parts))[-MOST_NOTES:]
