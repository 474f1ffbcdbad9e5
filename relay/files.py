"""Files that outlive a power cut: bytes are synced before their name is made, and the name after that."""

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Make names made, changed or removed in ``path`` durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make ``path`` and what is missing above it, durably. Raises OSError."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def write_file(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a whole file: a temporary one, fsync, then its name. ``mode``: less the umask. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # it may hold a secret
        raise
    sync_directory(path.parent)
