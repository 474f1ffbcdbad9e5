"""One process a data directory: the second is refused, the next one after it ended is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from relay.database.lock import owned
from relay.errors import ConfigError, ConflictError

HOLD = """
import sys, pathlib
from relay.database.lock import owned
with owned(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone_however_it_went(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConflictError, match=r"a relay runs on .*data already; stop it first"), owned(data):
            pass
        holder.kill()
        holder.wait()
    for _ in range(2):
        with owned(data):
            assert (data / "relay.lock").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match=r"cannot use the data directory .*data: "), owned(tmp_path / "data"):
        pass
