"""Init segments: found by name for each segment, kept on disk, bounded; a damaged file costs them and nothing else."""

from pathlib import Path

import pytest

from relay.ingest.inits import MOST, Inits, is_init_name


@pytest.mark.parametrize(
    ("kept", "segment", "named", "found"),
    [
        (["init.mp4"], "seg1.m4s", "", "init.mp4"),
        (["init.mp4", "init_2.mp4"], "seg1.m4s", "init.mp4", "init.mp4"),
        (["init-stream0.m4s", "init-stream1.m4s"], "chunk-stream0-00007.m4s", "", "init-stream0.m4s"),
        (["init-stream0.m4s", "init-stream1.m4s"], "chunk-stream1-00007.m4s", "", "init-stream1.m4s"),
        (["video/init.mp4", "audio/init.mp4"], "video/1.m4s", "", "video/init.mp4"),
        (["a.mp4", "b.mp4"], "seg1.m4s", "", "b.mp4"),
        (["init.mp4"], "seg1.m4s", "other.mp4", "init.mp4"),
    ],
)
async def test_the_init_segment_for_a_segment(
    kept: list[str], segment: str, named: str, found: str, tmp_path: Path
) -> None:
    inits = Inits(tmp_path, "demo")
    assert inits.of(segment, named) == b""
    for name in kept:
        await inits.put(name, name.encode())
    assert inits.of(segment, named).decode() == found


async def test_they_outlive_the_relay_and_are_bounded(tmp_path: Path) -> None:
    inits = Inits(tmp_path / "ingest", "demo")
    await inits.load()
    for number in range(MOST + 3):
        await inits.put(f"{number}/init.mp4", bytes([number]))
    await inits.put("10/init.mp4", b"new")
    again = Inits(tmp_path / "ingest", "demo")
    await again.load()
    assert again.of("10/1.m4s") == b"new"
    assert again.of("9/1.m4s") == b"\x09"
    assert again.of("0/1.m4s", "0/init.mp4") == b"new", "the oldest gave way; the newest of all is the best guess"
    assert [path.name for path in (tmp_path / "ingest").iterdir()] == ["demo.json"]
    again.remove()
    assert list((tmp_path / "ingest").iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": "=="}', '{"a": "\\u0000"}'])
async def test_a_damaged_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(text)
    inits = Inits(tmp_path, "demo")
    await inits.load()
    assert inits.of("seg1.m4s") == b""
    await inits.put("init.mp4", b"good")
    await inits.load()
    assert inits.of("seg1.m4s") == b"good"


def test_names_of_init_segments() -> None:
    assert all(map(is_init_name, ("init.mp4", "init-stream0.m4s", "Header.mp4", "video/INIT-1.m4s", "v.cmfi")))
    assert not any(map(is_init_name, ("seg1.m4s", "chunk-stream0-00001.m4s", "live.mpd", "index.m3u8", "a.ts")))
