"""A small disk of its own (tmpfs, as root), to be filled to the last byte and freed again."""

import errno
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_PAGE = 4096
_BALLAST = "ballast"


class SmallDisk:
    """``size`` bytes mounted at ``path`` while used as a context manager."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self._size}", "tmpfs", str(self.path)], check=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)

    @property
    def free(self) -> int:
        """Bytes."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, left: int) -> None:
        """Leave at most ``left`` bytes free, whoever has the rest, and however others write meanwhile."""
        file = os.open(self.path / _BALLAST, os.O_RDWR | os.O_CREAT)
        try:
            while (more := (self.free - left) // _PAGE * _PAGE) > 0:
                try:
                    os.posix_fallocate(file, os.fstat(file).st_size, more)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        finally:
            os.close(file)

    def clear(self) -> None:
        """Give back what ``fill`` took."""
        (self.path / _BALLAST).unlink()
