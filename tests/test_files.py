"""Files and directories that are there after a power cut, told by what was synced when."""

import os
from pathlib import Path

import pytest

from relay.config import Settings
from relay.database import Database
from relay.database.crypto import make_once
from relay.files import make_directory, write_file


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every path synced, in order."""
    found: list[Path] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        found.append(Path(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    return found


def test_files_get_their_name_when_they_are_whole(tmp_path: Path, synced: list[Path]) -> None:
    write_file(tmp_path / "x.m4s", b"media")
    assert [path.name for path in tmp_path.iterdir()] == ["x.m4s"]
    assert (tmp_path / "x.m4s").read_bytes() == b"media"
    assert synced == [tmp_path / "x.m4s.tmp", tmp_path]


def test_each_directory_made_is_synced_in_the_one_above(tmp_path: Path, synced: list[Path]) -> None:
    make_directory(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    make_directory(tmp_path / "a" / "b")
    assert len(synced) == 2


@pytest.mark.parametrize("what", ["database", "key"])
def test_the_data_directory_itself_outlives_a_power_cut(tmp_path: Path, synced: list[Path], what: str) -> None:
    if what == "database":
        Database(Settings(data_dir=tmp_path / "a" / "data")).close()
    else:
        make_once(tmp_path / "a" / "data" / "secret.key", b"key")
    assert [tmp_path, tmp_path / "a"] == synced[:2]
    assert tmp_path / "a" / "data" in synced
