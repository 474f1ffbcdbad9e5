"""Slates: tried before they are kept, replaced whole, removed when nobody shows them, never outside their folder."""

import asyncio
from pathlib import Path

import pytest

from relay.control.slates import MOST, Slates
from relay.errors import ConflictError, InvalidError, NotFoundError, SlateError
from tests.cli.test_destinations import png


async def test_what_can_be_shown_is_kept_and_replaced(tmp_path: Path) -> None:
    used = [("pause.png", "demo/own"), ("other.png", "demo/later")]
    slates = Slates(tmp_path / "slates", lambda: used)
    assert await slates.list() == []
    first, second = png(64, 36), png(32, 32)
    view = await slates.keep("pause.png", first)
    assert (view.name, view.size, view.used_by) == ("pause.png", len(first), ["demo/own"])
    await asyncio.gather(slates.keep("pause.png", second), slates.keep("back.png", first))
    assert [(view.name, view.size) for view in await slates.list()] == [
        ("back.png", len(first)),
        ("pause.png", len(second)),
    ]
    assert (tmp_path / "slates" / "pause.png").read_bytes() == second
    with pytest.raises(ConflictError, match=r"demo/own shows pause\.png"):
        await slates.remove("pause.png")
    used.clear()
    await slates.remove("pause.png")
    with pytest.raises(NotFoundError):
        await slates.remove("pause.png")
    assert [path.name for path in (tmp_path / "slates").iterdir()] == ["back.png"]


async def test_what_cannot_be_shown_changes_nothing(tmp_path: Path) -> None:
    slates = Slates(tmp_path, lambda: ())
    picture = png(64, 36)
    await slates.keep("pause.png", picture)
    for content in (b"", b"a picture", picture[:60], b"GIF89a" + bytes(100)):
        with pytest.raises(SlateError, match=r"^slate pause\.png "):
            await slates.keep("pause.png", content)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("pause.png", picture)]


@pytest.mark.parametrize(
    "name", ["", "..", "../up.png", "a/b.png", ".hidden.png", "a.gif", "a.png\n", "a\0.png", "x" * 101 + ".png"]
)
async def test_names_never_become_paths(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "slates"
    slates = Slates(folder, lambda: ())
    with pytest.raises(InvalidError, match="without a folder"):
        await slates.keep(name, png(64, 36))
    with pytest.raises(InvalidError, match="without a folder"):
        await slates.remove(name)
    assert list(tmp_path.iterdir()) == []


async def test_there_are_only_so_many_and_a_disk_that_takes_none_is_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "slates"
    folder.mkdir()
    for number in range(MOST):
        (folder / f"{number}.png").write_bytes(b"")
    slates = Slates(folder, lambda: ())
    with pytest.raises(ConflictError, match=f"there are {MOST} slates"):
        await slates.keep("one-more.png", png(64, 36))
    await slates.keep("0.png", png(64, 36))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConflictError, match="does not take the slate: File exists"):
        await Slates(tmp_path / "file" / "slates", lambda: ()).keep("a.png", png(64, 36))
