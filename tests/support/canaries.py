"""Canaries: secrets a test plants in a relay, and the search for any form of them where none may be."""

import base64
import contextlib
import json
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote


class Canaries:
    """Secrets by name. ``look`` notes each that is found in a place; ``hits`` are (place, names of secrets)."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.hits: dict[str, set[str]] = {}
        self.looked: dict[str, int] = {}
        """Bytes looked at, by place."""

    def new(self, name: str) -> str:
        """A new secret nobody could mistake for anything else."""
        return self.add(name, f"canary-{secrets.token_hex(12)}")

    def add(self, name: str, text: str) -> str:
        """A secret of somebody else's making."""
        assert len(text) >= 8, f"{name} is too short to be looked for"
        self.texts[name] = text
        return text

    def look(self, place: str, data: str | bytes, but: Iterable[str] = ()) -> None:
        """Look for every secret in ``data``, except those named in ``but``, which belong there."""
        content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        self.looked[place] = self.looked.get(place, 0) + len(content)
        allowed = set(but)
        for name, text in self.texts.items():
            if name not in allowed and any(form in content for form in _forms(text)):
                self.hits.setdefault(place, set()).add(name)


def _forms(text: str) -> Iterator[bytes]:
    for form in (text, quote(text, safe=""), json.dumps(text)[1:-1]):
        yield form.encode()
    for shift in range(3):  # base64 of it wherever it stands in what was encoded
        coded = base64.b64encode(b"\0" * shift + text.encode())
        yield coded[4 if shift else 0 : -4]


class Descendants:
    """What /proc shows of a process's descendants, gathered whenever it is asked to look."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.command_lines: dict[int, bytes] = {}
        self.environments: dict[int, bytes] = {}

    def look(self) -> None:
        own = Path(f"/proc/{self._pid}/cmdline").read_bytes()
        for pid in self.pids():
            with contextlib.suppress(OSError):  # it ended meanwhile
                before = Path(f"/proc/{pid}/cmdline").read_bytes()
                environment = Path(f"/proc/{pid}/environ").read_bytes()
                # Until it has become another program, a child is its parent once more, whom everything may be known to.
                if own not in (before, Path(f"/proc/{pid}/cmdline").read_bytes()):
                    self.command_lines[pid], self.environments[pid] = before, environment

    def pids(self, program: str = "") -> list[int]:
        """Descendants there are, those that run ``program``."""
        parents: dict[int, int] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        found = [self._pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return [pid for pid in found[1:] if program in _command(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
