"""The program itself: apply, doctor, settings, and a relay that is not there."""

import json
from pathlib import Path

from tests.cli.commands import relay
from tests.support.app import running_app


async def test_apply_takes_a_toml_file(tmp_path: Path) -> None:
    file = tmp_path / "channels.toml"
    file.write_text(
        '[[channels]]\nname = "rally"\n[[channels.destinations]]\nname = "d"\nurl = "rtmp://h.example/a"\nkey = "k"\n'
    )
    async with running_app(tmp_path) as app:
        code, out, _ = await relay("apply", str(file), data=tmp_path, port=app.web.port)
        assert (code, out.strip()) == (0, "channel rally created")
        code, out, _ = await relay("apply", str(file), data=tmp_path, port=app.web.port)
        assert (code, out.strip()) == (0, "nothing to change")
        file.write_text("[[channels]\n")
        code, _, err = await relay("apply", str(file), data=tmp_path, port=app.web.port)
        assert (code, "channels.toml is no TOML file" in err) == (1, True)
        code, _, err = await relay("apply", str(tmp_path / "none.toml"), data=tmp_path, port=app.web.port)
        assert (code, err) == (1, f"relay: {tmp_path}/none.toml cannot be read: No such file or directory\n")


async def test_without_a_relay_every_command_says_how_to_start_one(tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("t")
    for words in (("channel", "list"), ("recording", "list"), ("destination", "list", "demo")):
        code, out, err = await relay(*words, data=tmp_path)
        assert (code, out) == (1, "")
        assert "scripts/start" in err
        assert "Traceback" not in err


async def test_doctor_and_settings_errors(tmp_path: Path) -> None:
    code, out, _ = await relay("doctor", "--json", data=tmp_path)
    assert {item["check"] for item in json.loads(out)} >= {"disk", "ffmpeg", "store", "clock"}
    code, _, err = await relay("-c", str(tmp_path / "none.toml"), "serve", data=tmp_path)
    assert (code, "relay.example.toml" in err) == (1, True)
