"""A disk that forgets: what programs see of it, and what is left once the power goes before an fsync."""

import errno
import pickle
import random
import stat
import time
from pathlib import Path

SECTOR = 512
ROOT = 1

Edit = tuple[int, str, int | None]
"""(directory's number, name, the node it now names; None: the name is gone)."""


class Node:
    """A file or directory: what programs see (``data``, ``entries``) and what the platter has (``synced``)."""

    __slots__ = ("atime_ns", "data", "entries", "gid", "links", "mode", "mtime_ns", "synced", "synced_entries", "uid")

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.uid = self.gid = self.links = 0
        self.atime_ns = self.mtime_ns = time.time_ns()
        self.data: bytes | bytearray = b""
        self.synced = b""
        self.entries: dict[str, int] = {}
        self.synced_entries: dict[str, int] = {}

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


class Disk:
    """Files by number, names in directories, and the changes of names that no fsync of a directory has covered.

    The strict reading of POSIX: an fsync of a file makes its bytes durable and nothing else; its name, and each
    rename and unlink, is durable only once the directory is synced.
    """

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {ROOT: Node(stat.S_IFDIR | 0o755)}
        self.pending: list[tuple[Edit, ...]] = []
        self._next = ROOT + 1

    # --- what programs do -------------------------------------------------------------------------------------------

    def find(self, path: str) -> int:
        """The number of the node at ``path``. Raises FileNotFoundError, NotADirectoryError."""
        number = ROOT
        for name in [part for part in path.split("/") if part]:
            node = self.nodes[number]
            if not node.is_directory:
                raise NotADirectoryError(errno.ENOTDIR, path)
            found = node.entries.get(name)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, path)
            number = found
        return number

    def _place(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return self.find(above), name

    def make(self, path: str, mode: int) -> int:
        """A new, empty file or directory (by ``mode``). Raises FileExistsError."""
        above, name = self._place(path)
        if name in self.nodes[above].entries:
            raise FileExistsError(errno.EEXIST, path)
        number, self._next = self._next, self._next + 1
        self.nodes[number] = Node(mode)
        self._edit((above, name, number))
        return number

    def link(self, path: str, number: int) -> None:
        """One more name for a file. Raises FileExistsError."""
        above, name = self._place(path)
        if name in self.nodes[above].entries:
            raise FileExistsError(errno.EEXIST, path)
        self._edit((above, name, number))

    def remove(self, path: str) -> None:
        """Unlink, or rmdir. Raises OSError when the directory is not empty."""
        above, name = self._place(path)
        node = self.nodes[self.find(path)]
        if node.entries:
            raise OSError(errno.ENOTEMPTY, path)
        self._edit((above, name, None))

    def rename(self, old: str, new: str) -> None:
        """One atomic step: the new name is there as the old one goes, over whatever had it."""
        number = self.find(old)
        (above, name), (above_new, name_new) = self._place(old), self._place(new)
        self._edit((above, name, None), (above_new, name_new, number))

    def _edit(self, *edits: Edit) -> None:
        for above, name, number in edits:
            entries = self.nodes[above].entries
            before = entries.pop(name, None)
            if before is not None:
                self.nodes[before].links -= 1
            if number is not None:
                entries[name] = number
                self.nodes[number].links += 1
            self.nodes[above].mtime_ns = time.time_ns()
        self.pending.append(edits)

    def write(self, number: int, offset: int, data: bytes) -> None:
        node = self._dirty(number)
        if offset > len(node):
            node.extend(bytes(offset - len(node)))
        node[offset : offset + len(data)] = data

    def truncate(self, number: int, length: int) -> None:
        node = self._dirty(number)
        del node[length:]
        node.extend(bytes(length - len(node)))

    def _dirty(self, number: int) -> bytearray:
        node = self.nodes[number]
        node.mtime_ns = time.time_ns()
        if not isinstance(node.data, bytearray):
            node.data = bytearray(node.data)
        return node.data

    def sync(self, number: int) -> None:
        """fsync: a file's bytes, or a directory's names."""
        node = self.nodes[number]
        if not node.is_directory:
            node.data = node.synced = bytes(node.data)
            return
        kept = []
        for edits in self.pending:
            if any(above == number for above, _, _ in edits):
                self._apply(edits)
            else:
                kept.append(edits)
        self.pending = kept

    # --- what the power does ----------------------------------------------------------------------------------------

    def cut(self, chance: random.Random) -> None:
        """The power goes. Of what was not synced nothing survives, or what was first, or any of it, as it happens."""
        mood = chance.choice(("nothing", "first", "any"))
        if mood == "first":
            survivors = self.pending[: chance.randint(0, len(self.pending))]
        else:
            survivors = [edits for edits in self.pending if mood == "any" and chance.random() < 0.5]
        for edits in survivors:
            self._apply(edits)
        for node in self.nodes.values():
            if isinstance(node.data, bytearray):
                node.synced = node.synced if mood == "nothing" else torn(node.synced, bytes(node.data), chance)
        self._restart()

    def settle(self) -> None:
        """An orderly end: everything reaches the platter."""
        for edits in self.pending:
            self._apply(edits)
        for node in self.nodes.values():
            node.synced = bytes(node.data)
        self._restart()

    def _apply(self, edits: tuple[Edit, ...]) -> None:
        """A change of names reaches the platter, unless what it moves has no name there yet."""
        if len(edits) == 2:
            (above, name, _), (_, _, number) = edits
            if self.nodes[above].synced_entries.get(name) != number:
                return
        for above, name, number in edits:
            if number is None:
                self.nodes[above].synced_entries.pop(name, None)
            else:
                self.nodes[above].synced_entries[name] = number

    def _restart(self) -> None:
        """Programs see what the platter has; what no name leads to is gone."""
        self.pending = []
        kept: dict[int, Node] = {}
        waiting = [ROOT]
        while waiting:
            number = waiting.pop()
            node = self.nodes[number]
            node.links += 1
            if number not in kept:
                kept[number] = node
                node.links = 1
                waiting.extend(node.synced_entries.values())
            node.data, node.entries = node.synced, dict(node.synced_entries)
        self.nodes = kept

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self))

    @staticmethod
    def load(path: Path) -> "Disk":
        """What ``save`` wrote; a new disk where there is nothing."""
        if not path.exists():
            return Disk()
        disk = pickle.loads(path.read_bytes())
        assert isinstance(disk, Disk)
        return disk


def torn(old: bytes, new: bytes, chance: random.Random) -> bytes:
    """A file whose last writes were not synced: some sectors are new, some old, some never came; any length between."""
    size = chance.choice((len(old), len(new), chance.randint(*sorted((len(old), len(new))))))
    found = bytearray(old[:size].ljust(size, b"\0"))
    for at in range(0, size, SECTOR):
        end = min(at + SECTOR, size)
        if old[at:end] != new[at:end] and at < len(new) and chance.random() < 0.5:
            found[at:end] = new[at:end].ljust(end - at, b"\0")
    return bytes(found)
