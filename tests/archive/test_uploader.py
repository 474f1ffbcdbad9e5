"""The uploader against a directory store that is taken away and given back: nothing missing, nothing hurried."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from relay.archive import uploader as module
from relay.archive.stats import ArchiveStats
from relay.archive.store import FileStore
from relay.archive.uploader import Upload, Uploader


@pytest.fixture
async def uploader(tmp_path: Path) -> AsyncIterator[Uploader]:
    uploader = Uploader(FileStore(tmp_path / "archive"), 2, ArchiveStats())
    yield uploader
    await uploader.close()


class Told:
    """Keeps the sizes it is told, in order."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def __call__(self, size: int) -> None:
        self.sizes.append(size)


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def upload(folder: Path, number: int, since: float, told: Told) -> Upload:
    path = folder / f"{number:06d}.m4s"
    path.write_bytes(b"m" * (number + 1))
    return Upload(f"talk/r1/{path.name}", "video/iso.segment", path=path, waiting_since=since, stored=told)


async def test_files_and_bytes_are_stored_and_reported(uploader: Uploader, tmp_path: Path) -> None:
    told = Told()
    for number in range(5):
        uploader.add(upload(tmp_path, number, 100.0 + number, told))
    uploader.add(Upload("talk/r1/index.m3u8", "application/vnd.apple.mpegurl", data=b"#EXTM3U", replaces=True))
    assert uploader.oldest_since() == 100.0
    assert await uploader.drain(10)
    assert sorted(told.sizes) == [1, 2, 3, 4, 5]
    assert uploader.oldest_since() is None
    assert (tmp_path / "archive" / "talk" / "r1" / "index.m3u8").read_bytes() == b"#EXTM3U"
    assert (tmp_path / "archive" / "talk" / "r1" / "000004.m4s").read_bytes() == b"m" * 5


async def test_the_oldest_goes_first(tmp_path: Path) -> None:
    uploader = Uploader(FileStore(tmp_path / "archive"), 1, ArchiveStats())
    told = Told()
    for number, since in enumerate((30.0, 10.0, 20.0)):
        uploader.add(upload(tmp_path, number, since, told))
    assert await uploader.drain(10)
    await uploader.close()
    assert told.sizes == [2, 3, 1]


async def test_a_store_that_is_away_gets_everything_when_it_is_back(
    uploader: Uploader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "LEAST_WAIT_S", 0.01)
    (tmp_path / "archive").write_text("in the way")
    told = Told()
    for number in range(4):
        uploader.add(upload(tmp_path, number, 1.0, told))
    async with asyncio.timeout(20):
        while uploader._stats.store_errors["disk"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not await uploader.drain(0.01)
    assert uploader.last_error
    assert uploader.is_failing
    (tmp_path / "archive").unlink()
    assert await uploader.drain(10)
    assert sorted(told.sizes) == [1, 2, 3, 4]
    assert uploader.last_error == ""


async def test_a_store_that_is_away_is_asked_at_most_once_a_second(uploader: Uploader, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("in the way")
    for number in range(60):
        uploader.add(upload(tmp_path, number, 1.0, Told()))
    await uploader.drain(3.5)
    # One try by each worker before the first failure is known; then at least a second between any two.
    assert 2 < uploader._stats.store_errors["disk"] <= 2 + 3
    assert uploader.is_failing
    assert uploader.waiting == 60
    (tmp_path / "archive").unlink()
    assert await uploader.drain(30)
    assert not uploader.is_failing


async def test_an_object_the_store_refuses_holds_up_no_other(
    uploader: Uploader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "LEAST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "REST_S", 0.2)
    told = Told()
    (tmp_path / "archive" / "talk" / "r1" / "000000.m4s" / "in the way").mkdir(parents=True)
    for number in range(50):
        uploader.add(upload(tmp_path, number, 1.0 + number, told))
    await until(lambda: len(told.sizes) == 49)
    assert uploader.waiting == 1
    assert "000000.m4s" in uploader.error, "said for as long as it is so"
    assert uploader.oldest_since() == 1.0
    shutil.rmtree(tmp_path / "archive" / "talk" / "r1" / "000000.m4s")
    assert await uploader.drain(20)
    assert len(told.sizes) == 50
    assert uploader.error == ""


async def test_what_is_no_store_error_ends_no_worker(uploader: Uploader, tmp_path: Path) -> None:
    told = Told()
    unreadable = upload(tmp_path, 0, 1.0, told)
    assert unreadable.path is not None
    unreadable.path.unlink()
    unreadable.path.symlink_to(tmp_path)
    uploader.add(unreadable)

    async def failing(size: int) -> None:
        noted.append(size)
        if len(noted) == 1:
            raise RuntimeError("the first time only")

    noted: list[int] = []
    uploader.add(Upload("talk/r1/noted", "text/plain", data=b"12345", stored=failing))
    uploader.add(upload(tmp_path, 1, 2.0, told))
    await until(lambda: told.sizes == [2] and noted == [5, 5])
    assert "IsADirectoryError" in uploader.error
    readable = tmp_path / "readable"
    readable.write_bytes(b"m")
    readable.replace(unreadable.path)  # at once: a file that is gone would not be asked for again
    assert await uploader.drain(20)
    assert told.sizes == [2, 1]


async def test_what_is_forgotten_is_not_stored(uploader: Uploader, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("in the way")
    for number in range(6):
        uploader.add(upload(tmp_path, number, 1.0, Told()))
    uploader.add(Upload("talk/r2/kept", "text/plain", data=b"kept"))
    await uploader.drain(0.3)
    uploader.forget("talk/r1/")
    (tmp_path / "archive").unlink()
    assert await uploader.drain(20)
    assert [path.name for path in (tmp_path / "archive").rglob("*") if path.is_file()] == ["kept"]
    assert uploader.error == ""


async def test_nothing_waits_once_all_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("in the way")
    uploader = Uploader(FileStore(tmp_path / "archive"), 1, ArchiveStats())
    uploader.add(upload(tmp_path, 0, 1.0, Told()))
    await until(lambda: uploader.error)
    uploader.forget("talk/")
    assert await uploader.drain(20)
    assert (uploader.error, uploader.waiting) == ("", 0)
    await uploader.close()


async def test_the_read_back_test_is_repeated_until_it_passes(
    uploader: Uploader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROVE_EVERY_S", 0.05)
    (tmp_path / "archive").write_text("in the way")
    proving = asyncio.create_task(uploader.prove())
    await until(lambda: uploader.error)
    (tmp_path / "archive").unlink()
    async with asyncio.timeout(20):
        await proving
    assert uploader.error == ""


async def test_half_an_object_is_replaced(uploader: Uploader, tmp_path: Path) -> None:
    target = tmp_path / "archive" / "talk" / "r1" / "000003.m4s"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mm")
    uploader.add(upload(tmp_path, 3, 1.0, Told()))
    assert await uploader.drain(10)
    assert target.read_bytes() == b"mmmm"


async def test_a_file_that_is_gone_is_counted_and_holds_up_nobody(uploader: Uploader, tmp_path: Path) -> None:
    told = Told()
    lost = upload(tmp_path, 0, 1.0, told)
    assert lost.path is not None
    lost.path.unlink()
    uploader.add(lost)
    uploader.add(upload(tmp_path, 1, 2.0, told))
    assert await uploader.drain(10)
    assert told.sizes == [2]
    assert uploader._stats.segments["missing"] == 1


async def test_closing_does_not_wait_for_a_dead_store(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("in the way")
    uploader = Uploader(FileStore(tmp_path / "archive"), 2, ArchiveStats())
    uploader.add(upload(tmp_path, 0, 1.0, Told()))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await uploader.close()
    assert uploader.is_failing
