"""Rebuild: the catalog from what lies in the store: manifests, playlists, and the segments themselves."""

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import Literal

from relay.archive import manifest
from relay.archive.holes import breaks, filled
from relay.archive.playlist import PLAYLIST_NAME, MediaPlaylist, file_name, read_playlist
from relay.archive.recording import GAP_OVER_MS, media_end_ms
from relay.archive.salvage import Salvage, is_segment
from relay.archive.signing import PublicKey
from relay.archive.store import Store
from relay.archive.verify import covered
from relay.database import GapRow, RecordingRow, RecordingsRepo, SegmentRow
from relay.errors import EvidenceError

NOT_IN_STORE = "not in the store"
NOT_KNOWN = "found when the catalog was rebuilt"

_CHANNEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RECORDING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


@dataclass(slots=True)
class Outcome:
    """What became of one recording. ``notes``: what a person should know of it."""

    recording: str
    channel: str
    what: Literal["rebuilt", "replaced", "known", "skipped"]
    notes: list[str] = field(default_factory=list)
    segments: int = 0


@dataclass(slots=True)
class Folder:
    """One recording's objects in the store: size in bytes by name."""

    channel: str
    recording: str
    sizes: dict[str, int]

    @property
    def prefix(self) -> str:
        return f"{self.channel}/{self.recording}"


@dataclass(slots=True)
class Found:
    """A recording as its folder tells it, ready for the catalog."""

    row: RecordingRow
    segments: list[SegmentRow]
    gaps: list[GapRow]
    notes: list[str]


async def rebuild(
    store: Store,
    catalog: RecordingsRepo,
    *,
    key: PublicKey | None,
    unsigned: bool,
    replace_known: bool,
    told: Callable[[Outcome], None],
) -> None:
    """Write into ``catalog`` what ``store`` has: each recording as a whole or not at all. No object is changed.

    Manifests must be signed with ``key`` (None: whichever they name); with ``unsigned`` they need not hold. What the
    catalog knows already stays, except with ``replace_known``. Raises StoreError; what was told is done by then.
    """
    known = {row.id for row in await catalog.newest(limit=1_000_000_000)}
    folders = found(store)
    while (folder := await asyncio.to_thread(next, folders, None)) is not None:
        outcome = Outcome(folder.recording, folder.channel, "known")
        is_known = folder.recording in known
        if not is_known or replace_known:
            try:
                read = await asyncio.to_thread(look, store, folder, key, unsigned)
            except EvidenceError as error:
                outcome.what, outcome.notes = "skipped", [str(error)]
            else:
                await catalog.restore(read.row, read.segments, read.gaps, replace=replace_known)
                known.add(folder.recording)
                outcome.what = "replaced" if is_known else "rebuilt"
                outcome.notes, outcome.segments = read.notes, len(read.segments)
        told(outcome)


def found(store: Store) -> Iterator[Folder]:
    """Every folder in the store that is a recording's. Raises StoreError."""
    for where, items in groupby(store.listed(""), lambda item: item.key.split("/")[:-1]):
        if len(where) == 2 and _CHANNEL.fullmatch(where[0]) and _RECORDING.fullmatch(where[1]):
            folder = Folder(where[0], where[1], {file_name(item.key): item.size for item in items})
            if any(name == manifest.KEY_NAME or is_segment(name) for name in folder.sizes):
                yield folder


def look(store: Store, folder: Folder, key: PublicKey | None, unsigned: bool) -> Found:
    """What the folder's recording consists of. Raises EvidenceError: its manifest must not be believed; StoreError."""
    notes: list[str] = []
    told = _manifest(store, folder, key, unsigned, notes)
    segments = () if told is None else told.segments
    lost = {row.seq: row for row in segments if file_name(row.object_key) not in folder.sizes}
    notes += _differences(folder, segments, lost)
    salvage = Salvage(
        store,
        folder.prefix,
        folder.sizes.keys(),
        {item.name: item for item in _playlist(store, folder, notes).segments},
        None if told is None else told.row.started_at,
        notes,
    )
    more = salvage.rows({row.seq for row in segments})
    if told is not None and more:
        notes.append(f"{len(more)} segments, from {file_name(more[0].object_key)} on, are newer than its manifest")
    everything = sorted([*segments, *more], key=lambda row: row.seq)
    rows = _marked(row for row in everything if row.seq not in lost)
    if not rows:
        raise EvidenceError("none of its segments is in the store")
    gaps = _gaps(() if told is None else told.gaps, everything, lost.values(), more)
    last = everything[-1]
    if told is not None and told.row.ended_at is not None and not more:
        ended_at = told.row.ended_at
    else:
        ended_at = last.started_at + last.duration_s
    row = RecordingRow(
        id=folder.recording,
        channel=folder.channel,
        state="complete",
        started_at=rows[0].started_at - rows[0].start_ms / 1000 if told is None else told.row.started_at,
        ended_at=ended_at,
        base_ms=0 if told is None else told.row.base_ms,
    )
    return Found(row, rows, gaps, notes)


def _manifest(
    store: Store, folder: Folder, key: PublicKey | None, unsigned: bool, notes: list[str]
) -> manifest.Manifest | None:
    """The folder's manifest; None where there is none, or it does not hold and need not. Raises EvidenceError."""
    if manifest.KEY_NAME not in folder.sizes:
        notes.append("it has no manifest: rebuilt from its playlist and segments")
        return None
    try:
        told = manifest.parse(store.get(f"{folder.prefix}/{manifest.KEY_NAME}"))
        if (told.row.channel, told.row.id) != (folder.channel, folder.recording):
            raise EvidenceError(f"it is that of {told.row.channel}/{told.row.id}")
    except EvidenceError as error:
        if not unsigned:
            raise EvidenceError(f"{manifest.KEY_NAME}: {error}; with --unsigned it is done without") from error
        notes.append(f"{manifest.KEY_NAME}: {error}; rebuilt from its playlist and segments")
        return None
    try:
        manifest.check(told, key)
    except EvidenceError as error:
        if not unsigned:
            raise EvidenceError(f"{manifest.KEY_NAME}: {error}; with --unsigned it is taken all the same") from error
        notes.append(f"{manifest.KEY_NAME}: {error}; taken all the same")
    return told


def _playlist(store: Store, folder: Folder, notes: list[str]) -> MediaPlaylist:
    """The folder's playlist, empty where it has none that can be read."""
    if PLAYLIST_NAME in folder.sizes:
        try:
            return read_playlist(store.get(f"{folder.prefix}/{PLAYLIST_NAME}"))
        except EvidenceError as error:
            notes.append(f"{PLAYLIST_NAME}: {error}")
    return MediaPlaylist()


def _differences(folder: Folder, segments: Sequence[SegmentRow], lost: Collection[int]) -> Iterator[str]:
    """What the store has otherwise than the manifest says, as far as a listing shows."""
    for row in segments:
        name = file_name(row.object_key)
        if row.seq in lost:
            yield f"segment {name} is missing in the store"
        elif folder.sizes[name] != row.bytes:
            yield f"segment {name} has {folder.sizes[name]} bytes in the store, and {row.bytes} were recorded"
    inits = {file_name(row.init_key) for row in segments if row.init_key and row.seq not in lost}
    for name in sorted(inits - folder.sizes.keys()):
        yield f"init segment {name} is missing in the store: what needs it cannot be played"


def _marked(rows: Iterable[SegmentRow]) -> list[SegmentRow]:
    """The rows, with a discontinuity wherever time or init segment make one."""
    made: list[SegmentRow] = []
    for row in rows:
        made.append(replace(row, discontinuity=True) if made and breaks(made[-1], row) else row)
    return made


def _gaps(
    known: Iterable[GapRow], segments: list[SegmentRow], lost: Iterable[SegmentRow], more: Iterable[SegmentRow]
) -> list[GapRow]:
    """The gaps known, what is lost of ``segments``, and every hole between them that neither accounts for.

    ``more``: segments that came when the gaps were known already, and may fill them.
    """
    gaps = {gap.start_ms: gap for gap in known}
    for row in more:
        gone, left = filled(gaps.values(), row)
        for gap in gone:
            del gaps[gap.start_ms]
        gaps.update({gap.start_ms: gap for gap in left})
    for row in lost:
        length_ms = media_end_ms(row) - row.start_ms
        gaps[row.start_ms] = GapRow(start_ms=row.start_ms, length_ms=length_ms, reason=NOT_IN_STORE)
    spans = sorted((gap.start_ms, gap.start_ms + gap.length_ms) for gap in gaps.values())
    for before, after in pairwise(segments):
        start_ms, stop_ms = media_end_ms(before), after.start_ms
        if stop_ms - start_ms - covered(spans, start_ms, stop_ms) > GAP_OVER_MS:
            gaps[start_ms] = GapRow(start_ms=start_ms, length_ms=stop_ms - start_ms, reason=NOT_KNOWN)
    return [gap for _, gap in sorted(gaps.items())]
