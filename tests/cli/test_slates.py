"""Slates by command."""

import json
from pathlib import Path

from relay.egress import SLATE_BYTES
from tests.cli.commands import relay
from tests.cli.test_destinations import png
from tests.support.app import running_app


async def test_slates_are_added_listed_and_removed(tmp_path: Path) -> None:
    picture = tmp_path / "pause.png"
    picture.write_bytes(png(64, 36))
    (tmp_path / "long.mp4").write_bytes(bytes(SLATE_BYTES + 1))
    async with running_app(tmp_path / "data") as app:

        async def run(*words: str) -> tuple[int, str, str]:
            return await relay("slate", *words, data=tmp_path / "data", port=app.web.port)

        assert await run("list") == (0, "no slates; add one with `relay slate add FILE`\n", "")
        assert await run("add", str(picture)) == (0, "slate pause.png is kept\n", "")
        code, out, _ = await run("add", str(picture), "--json")
        assert (code, json.loads(out)["name"]) == (0, "pause.png")
        code, out, _ = await run("list")
        assert (code, out.split()) == (0, ["slate", "size", "shown", "by", "pause.png", "0.0", "MB", "nobody"])
        assert json.loads((await run("list", "--json"))[1])["slates"][0]["name"] == "pause.png"
        assert await run("remove", "pause.png") == (0, "slate pause.png removed\n", "")
        for words, told in (
            (("remove", "pause.png"), "there is no slate pause.png"),
            (("add", str(tmp_path / "none.png")), "cannot be read: No such file"),
            (("add", str(tmp_path)), "cannot be read: Is a directory"),
            (("add", str(tmp_path / "long.mp4")), "is larger than 20 MiB"),
        ):
            code, out, err = await run(*words)
            assert (code, out, told in err) == (1, "", True), err
