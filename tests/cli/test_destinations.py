"""How a destination is served, as people change it by command."""

import json
from pathlib import Path
from typing import Any

from tests.cli.commands import relay
from tests.support.app import running_app


async def test_holding_fitting_and_ensuring_by_command(tmp_path: Path) -> None:
    picture = tmp_path / "elsewhere" / "pause.png"
    picture.parent.mkdir()
    picture.write_bytes(b"a picture")
    async with running_app(tmp_path) as app:

        async def change(*words: str) -> dict[str, Any]:
            code, out, err = await relay(
                "destination", "set", "demo", "fb", *words, "--json", data=tmp_path, port=app.web.port
            )
            assert (code, err) == (0, ""), err
            found: dict[str, Any] = json.loads(out)
            return found

        added = await relay(
            "destination", "add", "demo", "fb", "--platform", "facebook", "--key", "k", data=tmp_path, port=app.web.port
        )
        assert added[0] == 0
        shown = await change("--hold-limit", "30", "--slate", str(picture))
        assert shown["hold"] == {"mode": "slate", "limit_s": 30, "slate": "pause.png"}
        assert (tmp_path / "slates" / "pause.png").read_bytes() == b"a picture"
        shown = await change("--hold", "freeze", "--on-change", "transcode", "--fit-height", "720")
        assert shown["hold"] == {"mode": "freeze", "limit_s": 30, "slate": "pause.png"}
        assert (shown["on_change"], shown["fit"]["height"]) == ("transcode", 720)
        shown = await change("--fit-video-kbps", "2500", "--ensure-audio", "off")
        assert (shown["fit"]["height"], shown["fit"]["video_kbps"], shown["ensure_audio"]) == (720, 2500, "off")
        code, out, _ = await relay("destination", "list", "demo", data=tmp_path, port=app.web.port)
        assert (code, "freeze 30 s" in out, "720p 2500 kbit/s" in out) == (0, True, True)
        shown = await change("--no-fit")
        assert shown["fit"] is None
        for words, told in (
            (("--hold", "sometimes"), "freeze"),
            (("--slate", "pause.exe"), ".png"),
            (("--fit-height", "721"), "multiple"),
            (("--slate", "/nowhere/at/all.png"), "there is no file"),
        ):
            code, out, err = await relay("destination", "set", "demo", "fb", *words, data=tmp_path, port=app.web.port)
            assert (code, out, len(err.splitlines())) == (1, "", 1), err
            assert told in err
    async with running_app(tmp_path) as app:
        (view,) = app.control.destinations("demo")
        assert (view.hold.limit_s, view.on_change, view.ensure_audio, view.fit) == (30, "transcode", "off", None)
