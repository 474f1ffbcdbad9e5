"""Store: the object store of the settings: a local directory, or a bucket. Every method blocks; callers use threads."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from relay.archive.objects import Store, StoredObject, check
from relay.config import Settings
from relay.errors import StoreError
from relay.files import sync_directory

__all__ = ["FileStore", "Store", "StoredObject", "check", "make_store"]


class FileStore:
    """Objects as files below ``root``, each whole or absent whatever happens."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self.where = f"file:{self._root}"
        self._unfinished = f".{os.urandom(4).hex()}.tmp"  # how the names of our files end before they are whole

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise StoreError(f"not an object key: {key!r}", "key", transient=False)
        return self._root.joinpath(*parts)

    def put(self, key: str, data: bytes, content_type: str, *, replace: bool = True) -> None:
        path = self._path(key)
        if not replace and path.exists():
            return
        temporary = path.with_name(f".{path.name}{self._unfinished}")
        try:
            self._make_directories(path.parent)
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_directory(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise StoreError(f"cannot write {path}: {error.strerror}", "disk") from error

    def holds(self, key: str, data: bytes) -> bool:
        found = self.head(key)
        return found is not None and found.size == len(data) and self.get(key) == data

    def _make_directories(self, path: Path) -> None:
        if not path.is_dir():
            self._make_directories(path.parent)
            path.mkdir(exist_ok=True)
            sync_directory(path.parent)

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise StoreError(f"there is no object {key}", "absent", transient=False) from error
        except OSError as error:
            raise StoreError(f"cannot read {key}: {error.strerror}", "disk") from error

    def head(self, key: str) -> StoredObject | None:
        try:
            return StoredObject(key, self._path(key).stat().st_size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot look at {key}: {error.strerror}", "disk") from error

    def listed(self, prefix: str) -> Iterator[StoredObject]:
        for path in sorted(self._root.rglob("*")):
            key = path.relative_to(self._root).as_posix()
            if key.startswith(prefix) and path.is_file() and not path.name.startswith("."):
                yield StoredObject(key, path.stat().st_size)

    def clean_up(self) -> int:
        try:
            left = [path for path in self._root.rglob(".*.tmp") if not path.name.endswith(self._unfinished)]
        except OSError as error:
            raise StoreError(f"cannot look through {self._root}: {error.strerror}", "disk") from error
        for path in left:
            self._remove(path)
        return len(left)

    def delete(self, key: str) -> None:
        self._remove(self._path(key))

    def _remove(self, path: Path) -> None:
        """Remove a file, and the folders it leaves empty."""
        try:
            path.unlink(missing_ok=True)
            while (path := path.parent) != self._root and not any(path.iterdir()):
                path.rmdir()
        except FileNotFoundError:
            return  # its folder is gone as well
        except OSError as error:
            raise StoreError(f"cannot delete {path}: {error.strerror}", "disk") from error


def make_store(settings: Settings) -> Store:
    """The store of ``archive.store``, which must not be ``off``. Raises ConfigError."""
    target = settings.archive.store
    if target.startswith("s3://"):
        from relay.archive.s3 import S3Store  # its library takes 16 MiB, and only who has a bucket needs it

        return S3Store(settings)
    return FileStore(settings.data_dir / target.removeprefix("file:"))
