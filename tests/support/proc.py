"""What /proc says of a process: its limits, environment, open files, network, threads and memory."""

import os
from dataclasses import dataclass
from pathlib import Path

_LIMITS = {
    "Max address space": "memory_bytes",
    "Max cpu time": "cpu_s",
    "Max file size": "file_bytes",
    "Max open files": "open_files",
    "Max core file size": "core_bytes",
}


def limits(pid: int) -> dict[str, int]:
    """The soft limits by the names above; those that are unlimited are left out."""
    found = {}
    for line in Path(f"/proc/{pid}/limits").read_text("ascii").splitlines():
        for title, name in _LIMITS.items():
            if line.startswith(title) and line[26:].split()[0] != "unlimited":
                found[name] = int(line[26:].split()[0])
    return found


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def files(pid: int) -> dict[int, str]:
    """What each descriptor is; ``pipe:[…]``, ``socket:[…]`` or a path."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def network(pid: int | str) -> str:
    """Its network namespace."""
    return os.readlink(f"/proc/{pid}/ns/net")


def children(pid: int) -> list[int]:
    """Its children's ids, of whichever thread."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text("ascii").split()]


@dataclass(frozen=True, slots=True)
class Load:
    """What a process holds: descriptors, threads, resident bytes."""

    files: int
    threads: int
    memory: int


def load(pid: int) -> Load:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines())
    return Load(len(files(pid)), int(status["Threads"]), int(status["VmRSS"].split()[0]) * 1024)
