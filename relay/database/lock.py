"""The data directory's lock: one process at a time may run on it, and the kernel frees it when that one ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from relay.errors import ConfigError, ConflictError
from relay.files import make_directory

LOCK_FILE = "relay.lock"


@contextlib.contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """``data_dir`` is this process's alone meanwhile. Raises ConflictError when it is another's, or ConfigError."""
    path = data_dir / LOCK_FILE
    try:
        make_directory(data_dir)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use the data directory {data_dir}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"a relay runs on {data_dir} already; stop it first, or name another directory with RELAY_DATA_DIR"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"cannot lock {path}: {error.strerror}; keep the data directory on a local disk"
            ) from error
        yield
    finally:
        os.close(descriptor)
