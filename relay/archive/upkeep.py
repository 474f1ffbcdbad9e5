"""Upkeep of the spool: what a run left behind, what lies there, what may go. Blocking; for threads."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from relay.archive.spool import (
    OPEN_SUFFIX,
    ClosedPart,
    PartInfo,
    Spool,
    commits,
    part_number,
    read_info,
    read_part,
    recover,
)
from relay.database import RecordingRow
from relay.errors import SpoolError
from relay.hub.batch import Note

_FIRST_LOOK = 1 << 20


@dataclass(frozen=True, slots=True)
class LeftPart:
    """A part an earlier run left behind, and the one that follows it in number; not looked into yet."""

    path: Path
    following: Path | None


@dataclass(slots=True)
class Leftover:
    """One recording's files in the spool, by name only: parts in order, and the next free number."""

    folder: Path
    parts: list[LeftPart] = field(default_factory=list)
    next_number: int = 0

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def channel(self) -> str:
        return self.folder.parent.name


class SpoolFile(NamedTuple):
    """A file as it lies there: size in bytes, and when it was written or last vouched for, unix seconds."""

    path: Path
    size: int
    changed_at: float


def find(spool: Spool) -> list[Leftover]:
    """Every recording with files in the spool, oldest first. Opens none of them, whatever their number and size."""
    found = []
    for folder in sorted(spool.folders(), key=lambda path: path.name):
        leftover = Leftover(folder)
        numbered: list[tuple[int, Path]] = []
        for path in folder.iterdir():
            name = path.name.partition(".")[0]
            if path.suffix == ".tmp":
                path.unlink()
                continue
            if name.isdigit() and len(name) >= 6:
                leftover.next_number = max(leftover.next_number, int(name) + 1)
            number = part_number(path)
            if number is not None:
                numbered.append((number, path))
        leftover.parts += _following(sorted(numbered))
        found.append(leftover)
    return found


def resolve(left: LeftPart) -> ClosedPart | None:
    """What is verified of a part left behind, with where it ends; None where it never held committed media.

    Raises OSError or SpoolError (disk).
    """
    info = _info(left.path)
    if info is None:
        if not left.path.exists():
            return None
        if left.path.name.endswith(OPEN_SUFFIX) and not recover(left.path):
            left.path.unlink()
        else:
            set_aside(left.path)
        return None
    return _bounded(left, info)


def _bounded(left: LeftPart, info: PartInfo) -> ClosedPart:
    """A part left behind, up to where the one that follows it begins."""
    following = _info(left.following) if left.following is not None and left.following.exists() else None
    if following is None or following.gap or following.recording_base_ms != info.recording_base_ms:
        return ClosedPart(left.path, info)
    if following.late or info.late:
        return ClosedPart(left.path, info)
    return ClosedPart(left.path, info, following.start_ms, following.first_seq)


def noted(folder: Path, limit: int) -> dict[int, list[Note]]:
    """The notes in the parts that lie in ``folder``, those still written to as well, by number and in order.

    Up to the part that has brought more than ``limit``, the newest first. What cannot be read has none.
    """
    numbered = sorted((number, path) for path in _within(folder) if (number := part_number(path)) is not None)
    found: dict[int, list[Note]] = {}
    for left in reversed(_following(numbered)):
        if limit <= 0:
            break
        # Its name may change while this looks: to that of a closed part.
        path = left.path if left.path.exists() else left.path.with_name(left.path.name.removesuffix(".part"))
        try:
            info = _info(path)
            part = None if info is None else read_part(path, _bounded(left, info).before_seq)
        except SpoolError:
            continue  # packaged meanwhile, or set aside when its turn comes
        if part is not None and part.notes:
            found[part.info.seq] = part.notes
            limit -= len(part.notes)
    return dict(sorted(found.items()))


def _within(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _following(numbered: list[tuple[int, Path]]) -> list[LeftPart]:
    """Parts in order, each with the one whose number is the next."""
    numbers = dict(numbered)
    return [LeftPart(path, numbers.get(number + 1)) for number, path in numbered]


def _info(path: Path) -> PartInfo | None:
    """The part's own account, once something of it is verified."""
    try:
        with path.open("rb") as file:
            begins = next(iter(commits(file.read(_FIRST_LOOK))), None) is not None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpoolError(f"cannot read {path}: {error.strerror}") from error
    return read_info(path) if begins or recover(path) else None


def row(leftover: Leftover) -> RecordingRow:
    """A recording's row as its files tell it, for a catalog that does not know it."""
    started_at, base_ms = _time_in(leftover.folder), 0
    for left in leftover.parts:
        try:
            info = _info(left.path)
        except SpoolError:
            continue  # tried again when its turn comes
        if info is not None:
            started_at, base_ms = info.recording_started_at, info.recording_base_ms
            break
    return RecordingRow(
        id=leftover.id,
        channel=leftover.channel,
        state="recording",
        started_at=started_at,
        base_ms=base_ms,
        ended_cleanly=False,
    )


def tail(leftover: Leftover) -> tuple[int, float] | None:
    """(media time in ms, unix seconds) at which the last verified packet lies; None where no part tells."""
    for left in reversed(leftover.parts):
        try:
            part = read_part(left.path)
        except SpoolError:
            continue  # set aside when its turn comes
        if part is not None and part.packets:
            last_ms = max(packet.dts_ms for packet in part.packets)
            info = part.info
            return last_ms - info.recording_base_ms, info.started_at + (last_ms - info.start_ms) / 1000
    return None


def _time_in(folder: Path) -> float:
    """The start a recording's name tells, or else the age of its folder."""
    try:
        return datetime.strptime(folder.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return folder.stat().st_mtime


def touch(path: Path) -> None:
    """From now on counts the time ``path`` is kept."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return  # evicted for want of space meanwhile


def remove(path: Path) -> int:
    """Remove a file, if it is there; the bytes that frees."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def set_aside(part: Path) -> None:
    """Keep what cannot be read, out of the way, for a person to look at."""
    try:
        part.rename(part.with_name(part.name + ".unreadable"))
    except FileNotFoundError:
        return  # it cannot be read because it was removed


def files(spool: Spool) -> dict[Path, list[SpoolFile]]:
    """Everything that lies in the spool, by recording's folder."""
    found: dict[Path, list[SpoolFile]] = {}
    for folder in spool.folders():
        own = found[folder] = []
        for path in folder.iterdir():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            own.append(SpoolFile(path, status.st_size, status.st_mtime))
    return found


def clear(spool: Spool, folder: Path) -> None:
    """Remove a recording's folder with all that is in it."""
    for path in folder.iterdir() if folder.is_dir() else ():
        path.unlink(missing_ok=True)
    spool.remove(folder)
