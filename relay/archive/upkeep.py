"""Upkeep of the spool: what a run left behind, what is safe and old enough to go. Blocking; for threads."""

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from relay.archive.recorder import ClosedPart
from relay.archive.spool import OPEN_SUFFIX, PartInfo, Spool, part_number, read_info, recover
from relay.database import RecordingRow


@dataclass(frozen=True, slots=True)
class Leftover:
    """One recording's files in the spool: parts in order, init segments, and its row should the catalog lack it."""

    row: RecordingRow
    parts: list[ClosedPart]
    inits: list[Path]
    next_number: int


def find(spool: Spool) -> list[Leftover]:
    """Every recording with files in the spool, oldest first. Raises OSError."""
    found = []
    for folder in sorted(spool.folders(), key=lambda path: path.name):
        names = sorted(folder.iterdir())
        numbered = sorted((number, path) for path in names if (number := part_number(path)) is not None)
        infos = [(path, info) for _, path in numbered if (info := _info(path)) is not None]
        inits = [path for path in names if path.name.startswith("init-") and path.suffix == ".mp4"]
        numbers = [number for number, _ in numbered] + [int(path.stem) for path in names if path.suffix == ".m4s"]
        for path in names:
            if path.suffix == ".tmp":
                path.unlink()
        found.append(Leftover(_row(folder, infos), _parts(infos), inits, max(numbers, default=-1) + 1))
    return found


def _info(path: Path) -> PartInfo | None:
    """The part's own account, once something of it is verified; a part without any never held committed media."""
    info = read_info(path) if recover(path) else None
    if info is None:
        if path.name.endswith(OPEN_SUFFIX):
            path.unlink()
        else:
            set_aside(path)
    return info


def _parts(infos: list[tuple[Path, PartInfo]]) -> list[ClosedPart]:
    parts = []
    for index, (path, info) in enumerate(infos):
        following = infos[index + 1][1] if index + 1 < len(infos) else None
        if following is None or following.gap or following.recording_base_ms != info.recording_base_ms:
            parts.append(ClosedPart(path, info))
        else:
            parts.append(ClosedPart(path, info, following.start_ms, following.first_seq))
    return parts


def _row(folder: Path, infos: list[tuple[Path, PartInfo]]) -> RecordingRow:
    started_at, base_ms = _time_in(folder), 0
    if infos:
        info = infos[0][1]
        started_at, base_ms = info.recording_started_at, info.recording_base_ms
    return RecordingRow(
        id=folder.name, channel=folder.parent.name, state="recording", started_at=started_at, base_ms=base_ms
    )


def _time_in(folder: Path) -> float:
    """The start a recording's name tells, or else the age of its folder."""
    try:
        return datetime.strptime(folder.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return folder.stat().st_mtime


def stored(part: Path, segment: Path) -> None:
    """The segment is safe: its part may go, and its own time to stay begins."""
    if segment != part and segment.exists():
        os.utime(segment)
    part.unlink(missing_ok=True)


def remove(part: Path) -> None:
    """Remove a part without media."""
    part.unlink(missing_ok=True)


def set_aside(part: Path) -> None:
    """Keep what cannot be read, out of the way, for a person to look at."""
    part.rename(part.with_name(part.name + ".unreadable"))


def sweep(spool: Spool, keep_s: float, busy: set[Path]) -> int:
    """Bytes in the spool, after evicting segments whose part is gone, so stored, for ``keep_s`` seconds.

    Folders of recordings that are not ``busy`` and hold nothing but init segments go too.
    """
    total = 0
    horizon = time.time() - keep_s
    for folder in spool.folders():
        files = {path.name: path.stat() for path in folder.iterdir()}
        parts = {int(name.partition(".")[0]) for name in files if part_number(folder / name) is not None}
        for name, status in list(files.items()):
            evictable = name.endswith(".m4s") and int(name[:-4]) not in parts
            if evictable and status.st_mtime <= horizon:
                (folder / name).unlink(missing_ok=True)
                del files[name]
            else:
                total += status.st_size
        if folder not in busy and all(name.startswith("init-") for name in files):
            for name, status in files.items():
                (folder / name).unlink(missing_ok=True)
                total -= status.st_size
            spool.remove(folder)
    return total
