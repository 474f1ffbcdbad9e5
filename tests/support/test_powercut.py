"""The forgetful disk keeps its word: what was synced is there after a cut, what was not may be anything."""

import random
import stat

import pytest

from tests.support.powercut import ROOT, Disk, torn

FILE, FOLDER = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
MANY = [random.Random(seed) for seed in range(60)]


def names(disk: Disk, path: str = "/") -> set[str]:
    return set(disk.nodes[disk.find(path)].entries)


@pytest.mark.parametrize("chance", MANY)
def test_bytes_and_names_that_were_synced_stay(chance: random.Random) -> None:
    disk = Disk()
    disk.make("/a", FOLDER)
    disk.sync(ROOT)
    file = disk.make("/a/x", FILE)
    disk.write(file, 0, b"synced")
    disk.sync(file)
    disk.sync(disk.find("/a"))
    disk.write(file, 6, b" and not")
    disk.cut(chance)
    assert bytes(disk.nodes[disk.find("/a/x")].data).startswith(b"synced")


def outcomes(prepare: str) -> set[frozenset[str]]:
    """Which names are there after many cuts behind each ``prepare``."""
    found = set()
    for chance in MANY:
        disk = Disk()
        file = disk.make("/old", FILE)
        disk.write(file, 0, b"x" * 3000)
        disk.sync(file)
        if prepare != "create":
            disk.sync(ROOT)
            if prepare == "rename":
                disk.rename("/old", "/new")
            else:
                disk.remove("/old")
        disk.cut(chance)
        found.add(frozenset(names(disk)))
    return found


def test_a_name_is_lost_or_not_until_its_directory_is_synced() -> None:
    old, new, none = frozenset({"old"}), frozenset({"new"}), frozenset[str]()
    assert outcomes("create") == {old, none}
    assert outcomes("rename") == {old, new}
    assert outcomes("unlink") == {old, none}


def test_what_was_not_synced_comes_torn() -> None:
    found = {torn(b"a" * 2048, b"b" * 4096, chance) for chance in MANY}
    assert any(b"a" in data and b"b" in data for data in found)
    assert {len(data) for data in found} >= {2048, 4096}
    assert len(found) > 20


def test_an_orderly_end_keeps_everything_but_what_has_no_name() -> None:
    disk = Disk()
    disk.make("/x", FILE)
    disk.link("/y", disk.find("/x"))
    disk.write(disk.find("/x"), 0, b"1")
    disk.remove("/x")
    disk.settle()
    assert names(disk) == {"y"}
    assert disk.nodes[disk.find("/y")].links == 1
    with pytest.raises(FileExistsError):
        disk.make("/y", FILE)
    with pytest.raises(FileNotFoundError):
        disk.find("/x")
