"""The audit log: who changed what, from where, and who signed in or was refused; a line of JSON each, kept on disk."""

import asyncio
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import BaseModel, ValidationError

from relay.files import make_directory, sync_directory
from relay.redaction import known

log = structlog.get_logger("relay.audit")

FILE = "audit.jsonl"
MOST_BYTES = 10 * 1024 * 1024  # of a file, before it is put aside
KEPT = 9  # files put aside; the oldest goes
REFUSALS = 10  # a minute that are written in full: strangers must not fill the disk, nor push out what was done
VALUE_CHARS = 300
_MINUTE_S = 60.0


class Entry(BaseModel):
    """One thing done. ``who``: a user, "admin token", "command line" or "retention"; ``via``: console, api or cli.

    ``about``: names and numbers, never a secret.
    """

    at: str  # ISO 8601, UTC
    who: str
    action: str
    address: str = ""
    via: str = ""
    about: dict[str, str] = {}


class AuditLog:
    """Append-only: each entry is on the disk when ``note`` returns. Used from any thread, by one process."""

    def __init__(
        self,
        data_dir: Path,
        *,
        most_bytes: int = MOST_BYTES,
        kept: int = KEPT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = data_dir / FILE
        self.failures = 0  # entries the disk did not take
        self._most_bytes = most_bytes
        self._kept = kept
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: deque[float] = deque(maxlen=REFUSALS)
        self._untold = 0  # refusals since one was written

    async def note(self, who: str, action: str, *, address: str = "", via: str = "", **about: object) -> None:
        """Write an entry; one that cannot be written is told in the log, and stops nothing."""
        await asyncio.to_thread(self.write, self._entry(who, action, address, via, about))

    async def refused(self, who: str, action: str, *, address: str = "", via: str = "", **about: object) -> None:
        """The same for a stranger's vain try: beyond REFUSALS a minute they are counted, and told with the next."""
        now = self._clock()
        if len(self._refused) == REFUSALS and now - self._refused[0] < _MINUTE_S:
            self._untold += 1
            return
        self._refused.append(now)
        if self._untold:
            about["others_not_written"] = self._untold
            self._untold = 0
        await self.note(who, action, address=address, via=via, **about)

    def _entry(self, who: str, action: str, address: str, via: str, about: dict[str, object]) -> Entry:
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        facts = {name: _text(value) for name, value in about.items() if value not in (None, "")}
        return Entry(at=at, who=_text(who), action=action, address=_text(address), via=via, about=facts)

    def write(self, entry: Entry) -> None:
        """The entry as a line, synced. For the loop there is ``note``."""
        line = entry.model_dump_json(exclude_defaults=True).encode() + b"\n"
        try:
            with self._lock:
                make_directory(self.path.parent)
                self._make_room(len(line))
                self._append(line)
        except OSError as error:
            self.failures += 1
            log.error("the audit log cannot be written", action=entry.action, reason=error.strerror or str(error))

    def say(self, who: str, action: str, **about: object) -> None:
        """``note`` for programs without a loop."""
        self.write(self._entry(who, action, "", "", about))

    def _append(self, line: bytes) -> None:
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last one was cut off by a crash
            written = os.write(descriptor, line)
            if written < len(line):
                raise OSError(None, "the disk is full")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_directory(self.path.parent)

    def _make_room(self, coming: int) -> None:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size + coming <= self._most_bytes:
            return
        for number in range(self._kept, 0, -1):
            older = self._aside(number - 1)
            if older.exists():
                older.replace(self._aside(number))
        sync_directory(self.path.parent)

    def _aside(self, number: int) -> Path:
        return self.path if number == 0 else self.path.with_name(f"{FILE}.{number}")

    async def last(self, many: int) -> list[Entry]:
        """The newest entries, the newest first."""
        return await asyncio.to_thread(self.read, many)

    def read(self, many: int) -> list[Entry]:
        """``last``, for threads."""
        found: list[Entry] = []
        with self._lock:
            for number in range(self._kept + 1):
                if len(found) >= many:
                    break
                try:
                    lines = self._aside(number).read_bytes().splitlines()
                except FileNotFoundError:
                    break
                found += _entries(reversed(lines), many - len(found))
        return found


def _entries(lines: Iterator[bytes], many: int) -> list[Entry]:
    """Up to ``many`` of them; what a crash cut off is none."""
    found: list[Entry] = []
    for line in lines:
        if len(found) == many:
            break
        try:
            found.append(Entry.model_validate(json.loads(line)))
        except (ValueError, ValidationError):
            continue
    return found


def _text(value: object) -> str:
    """``value`` in a line, without what is secret, cut where it is long."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        value = ", ".join(sorted(map(str, value)) if isinstance(value, set | frozenset) else map(str, value))
    text = "".join(letter if letter.isprintable() else " " for letter in known.censor(str(value)))
    return text if len(text) <= VALUE_CHARS else text[: VALUE_CHARS - 1] + "…"
