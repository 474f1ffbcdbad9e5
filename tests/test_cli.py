"""The relay command as people run it: tables, JSON, and errors of one line that say what to do."""

import asyncio
import json
import os
import sys
from pathlib import Path

from relay.control.models import NewDestination
from tests.support.app import running_app

RELAY = str(Path(sys.executable).with_name("relay"))


async def relay(*words: str, data: Path, port: int = 9, stdin: bytes = b"") -> tuple[int, str, str]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("RELAY_")},
        "RELAY_DATA_DIR": str(data),
        "RELAY_HTTP__LISTEN": f"127.0.0.1:{port}",
        "COLUMNS": "160",
    }
    process = await asyncio.create_subprocess_exec(
        RELAY, *words, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_channels_and_destinations_by_command(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        port = app.web.port
        code, out, _ = await relay("channel", "add", "rally", data=tmp_path, port=port)
        assert (code, app.control.channel("rally").stream_key in out) == (0, True)
        code, out, _ = await relay(
            "destination", "add", "rally", "yt", "--platform", "youtube", "--key", "-",
            data=tmp_path, port=port, stdin=b"abcd-key\n",
        )  # fmt: skip
        assert code == 0
        assert "abcd-key" not in out
        code, out, _ = await relay("destination", "disable", "rally", "yt", data=tmp_path, port=port)
        assert "disabled" in out
        code, out, _ = await relay("channel", "list", "--json", data=tmp_path, port=port)
        assert [channel["name"] for channel in json.loads(out)["channels"]] == ["demo", "rally"]
        code, out, _ = await relay("destination", "list", "rally", data=tmp_path, port=port)
        assert "youtube" in out
        code, out, _ = await relay("destination", "list", "rally", "--json", data=tmp_path, port=port)
        assert [item["name"] for item in json.loads(out)["destinations"]] == ["yt"]
        code, out, _ = await relay("channel", "rotate-key", "rally", "--json", data=tmp_path, port=port)
        assert json.loads(out)["stream_key"] == app.control.channel("rally").stream_key
        assert (await relay("channel", "remove", "rally", data=tmp_path, port=port))[0] == 0
        code, out, err = await relay("channel", "show", "rally", data=tmp_path, port=port)
        assert (code, out) == (1, "")
        assert err.startswith("relay: there is no channel rally")
        assert len(err.splitlines()) == 1


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
        assert (code, "channels.toml" in err) == (1, True)


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


async def test_names_that_cannot_be_are_told_in_one_line(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        for words in (("show", "a b"), ("show", "é"), ("show", "../x"), ("remove", "x?y"), ("add", "UPPER")):
            code, out, err = await relay("channel", *words, data=tmp_path, port=app.web.port)
            assert (code, out, len(err.splitlines())) == (1, "", 1), err
        assert "lower-case" in err


async def test_what_a_platform_says_is_shown_as_text(tmp_path: Path) -> None:
    """Neither as markup, which may not even be well-formed, nor as commands to the terminal."""
    said = "[/b] \x1b[2Jgo away [red]"
    async with running_app(tmp_path) as app:
        wanted = NewDestination(name="d", url="rtmp://h.example/a", key="k", enabled=False)
        await app.control.add_destination("demo", wanted)
        app.egress._channels["demo"]["d"]._supervisor._last_error = said
        code, out, _ = await relay("destination", "list", "demo", data=tmp_path, port=app.web.port)
    assert code == 0
    assert "[/b]  [2Jgo away [red]" in out
