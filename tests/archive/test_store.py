"""Both stores through one set of tests, the S3 one against a real server; then what only one of them can do."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.archive.s3 import S3Store
from relay.archive.store import FileStore, Store, check, make_store
from relay.config import Settings, load_settings
from relay.errors import StoreError
from tests.support.process import Processes
from tests.support.s3 import S3Server, serve


def settings_of(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in server.settings.items():
        monkeypatch.setenv(f"RELAY_{name}", value)
    return load_settings()


@pytest.fixture
async def server(processes: Processes, tmp_path: Path) -> AsyncIterator[S3Server]:
    async with serve(processes, tmp_path) as server:
        yield server


def use(store: Store) -> None:
    """What every store must do."""
    check(store)
    assert list(store.listed("")) == []
    key = "talk/r1/000000.m4s"
    assert store.head(key) is None
    assert not store.holds(key, b"")
    store.put(key, b"one", "video/iso.segment", replace=False)
    assert store.get(key) == b"one"
    assert store.holds(key, b"one")
    assert not store.holds(key, b"two")
    assert not store.holds(key, b"one more")
    store.put(key, b"two", "video/iso.segment", replace=False)
    assert store.get(key) == b"one", "what is there stays"
    store.put(key, b"three", "video/iso.segment")
    found = store.head(key)
    assert found is not None
    assert (found.key, found.size) == (key, 5)
    large = bytes(range(256)) * 8192
    store.put("talk/r2/000000.m4s", large, "video/iso.segment")
    assert store.get("talk/r2/000000.m4s") == large
    assert store.holds("talk/r2/000000.m4s", large)
    assert [item.key for item in store.listed("talk/r1/")] == [key]
    assert [item.size for item in store.listed("talk/")] == [5, len(large)]
    store.delete(key)
    store.delete(key)
    assert store.head(key) is None
    with pytest.raises(StoreError) as absent:
        store.get(key)
    assert (absent.value.kind, absent.value.transient) == ("absent", False)


def test_a_directory(tmp_path: Path) -> None:
    use(FileStore(tmp_path / "archive"))


async def test_a_bucket_on_a_real_server(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(settings_of(server, monkeypatch))
    assert isinstance(store, S3Store)
    await asyncio.to_thread(use, store)
    assert server.keys() == ["talk/r2/000000.m4s"]


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/x", "a//b", "", ".", "a/./b", "a\0b"])
def test_keys_cannot_leave_the_directory(tmp_path: Path, key: str) -> None:
    store = FileStore(tmp_path / "archive")
    with pytest.raises(StoreError) as refused:
        store.put(key, b"x", "text/plain")
    assert refused.value.kind == "key"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file")
    with pytest.raises(StoreError) as failed:
        FileStore(tmp_path / "archive").put("talk/r1/x", b"x", "text/plain")
    assert failed.value.kind == "disk"
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_a_directory_store_is_below_the_data_directory(tmp_path: Path) -> None:
    store = make_store(Settings(data_dir=tmp_path))
    assert store.where == f"file:{(tmp_path / 'archive').resolve()}"


def test_what_a_crash_left_half_written_goes_at_the_next_start(tmp_path: Path) -> None:
    crashed, store = FileStore(tmp_path / "store"), FileStore(tmp_path / "store")
    for owner in (crashed, store):
        cut_off(owner, f"talk/r1/{id(owner)}.m4s")
    store.put("talk/r2/000000.m4s", b"whole", "video/iso.segment")
    assert store.clean_up() == 1
    (own,) = (path for path in (tmp_path / "store" / "talk" / "r1").iterdir())
    assert str(id(store)) in own.name, "what is being written stays"
    own.unlink()
    cut_off(crashed, "talk/r1/000001.m4s")
    assert store.clean_up() == 1
    assert [path.name for path in (tmp_path / "store" / "talk").iterdir()] == ["r2"]
    assert store.get("talk/r2/000000.m4s") == b"whole"


def cut_off(store: FileStore, key: str) -> None:
    """Leave the object as a crash would: written, and without its name."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.put(key, b"half", "video/iso.segment")
