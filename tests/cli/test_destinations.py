"""How a destination is served, as people change it by command."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from relay.control.models import FitOptions, HoldOptions, NewDestination
from tests.cli.commands import relay
from tests.support.app import running_app


def png(width: int, height: int) -> bytes:
    """A red picture (PNG, RFC 2083), made without any other program."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    lines = (b"\0" + b"\xff\0\0" * width) * height
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


async def test_holding_fitting_and_ensuring_by_command(tmp_path: Path) -> None:
    picture = tmp_path / "elsewhere" / "pause.png"
    picture.parent.mkdir()
    picture.write_bytes(png(64, 36))
    (picture.parent / "text.png").write_text("a picture")
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
        assert (tmp_path / "slates" / "pause.png").read_bytes() == picture.read_bytes()
        assert (await change("--slate", "pause.png"))["hold"] == shown["hold"]  # the one that was copied
        shown = await change("--hold", "freeze", "--on-change", "transcode", "--fit-height", "720")
        assert shown["hold"] == {"mode": "freeze", "limit_s": 30, "slate": "pause.png"}
        assert (shown["on_change"], shown["fit"]["height"]) == ("transcode", 720)
        shown = await change("--fit-video-kbps", "2500", "--ensure-audio", "off")
        assert (shown["fit"]["height"], shown["fit"]["video_kbps"], shown["ensure_audio"]) == (720, 2500, "off")
        shown = await change("--no-fit")
        assert shown["fit"] is None
        for words, told in (
            (("--hold", "sometimes"), "freeze"),
            (("--slate", "pause.exe"), "no file pause.exe here, and the relay has no slate pause.exe"),
            (("--slate", "typo.png"), "no file typo.png"),
            (("--slate", "/nowhere/at/pause.png"), "no file /nowhere/at/pause.png"),
            (("--slate", str(picture.parent)), "cannot be read"),
            (("--slate", str(picture.parent / "text.png")), "is no PNG, JPEG or MP4 file"),
            (("--fit-height", "721"), "multiple"),
            (("--no-fit", "--fit-height", "720"), "exclude each other"),
            ((), "nothing to set"),
        ):
            code, out, err = await relay("destination", "set", "demo", "fb", *words, data=tmp_path, port=app.web.port)
            assert (code, out, len(err.splitlines())) == (1, "", 1), err
            assert told in err
        assert [path.name for path in (tmp_path / "slates").iterdir()] == ["pause.png"]
    async with running_app(tmp_path) as app:
        (view,) = app.control.destinations("demo")
        assert (view.hold.limit_s, view.on_change, view.ensure_audio, view.fit) == (30, "transcode", "off", None)


async def test_an_hls_destination_by_command(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:

        async def run(*words: str) -> tuple[int, str, str]:
            return await relay("destination", *words, data=tmp_path, port=app.web.port)

        words = ("add", "demo", "yt", "--platform", "youtube-hls", "--key", "secret-key", "--backup", "on", "--json")
        code, out, _ = await run(*words)
        shown = json.loads(out)
        assert (code, shown["kind"], shown["method"], shown["backup"]) == (0, "hls", "PUT", True)
        assert shown["url"] == "https://a.upload.youtube.com/http_upload_hls"
        assert "secret-key" not in out
        code, out, _ = await run("set", "demo", "yt", "--method", "post", "--backup", "off", "--json")
        assert (code, json.loads(out)["method"], json.loads(out)["backup"]) == (0, "POST", False)
        code, out, _ = await run("set", "demo", "yt", "--backup", "https://b.example/{key}")
        assert code == 0
        assert "POST" in out
        assert "with backup" in out.replace("\n", " ")
        code, _, err = await run("set", "demo", "yt", "--method", "GET")
        assert code == 1
        assert "PUT" in err
        code, _, err = await run("add", "demo", "own", "--url", "https://h.example/up", "--key", "k", "--backup", "on")
        assert code == 1
        assert "give its URL" in err


async def test_a_slate_is_taken_from_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "pause.png").write_bytes(png(64, 36))
    monkeypatch.chdir(here)
    words = ("destination", "set", "demo", "own", "--slate")
    async with running_app(tmp_path / "data") as app:
        await app.control.add_destination("demo", NewDestination(name="own", url="rtmp://127.0.0.1:9/live", key="k"))
        for name in ("pause.png", "./pause.png"):
            code, _, err = await relay(*words, name, data=tmp_path / "data", port=app.web.port)
            assert (code, err) == (0, "")
            kept = tmp_path / "data" / "slates" / "pause.png"
            assert kept.read_bytes() == (here / "pause.png").read_bytes()
            kept.unlink()


async def test_how_each_is_served_is_listed(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        port = app.web.port
        code, out, _ = await relay("destination", "list", "demo", data=tmp_path, port=port)
        assert (code, "no destinations yet" in out) == (0, True)
        common: dict[str, Any] = {"url": "rtmp://127.0.0.1:9/live", "key": "k"}
        for wanted in (
            NewDestination(name="plain", **common),
            NewDestination(name="none", hold=HoldOptions(mode="off", limit_s=5), ensure_audio="off", **common),
            NewDestination(
                name="full",
                hold=HoldOptions(mode="slate", slate="pause.png", limit_s=600),
                fit=FitOptions(height=720, fps=25, video_kbps=2500, audio_kbps=96, keyframe_s=2),
                on_change="reconnect",
                **common,
            ),
        ):
            await app.control.add_destination("demo", wanted)
        code, out, _ = await relay("destination", "list", "demo", data=tmp_path, port=port, columns=250)
        assert code == 0
        _, plain, none, full = out.splitlines()
        assert "hold freeze " in plain
        assert "hold off, silence off" in none
        fit = "fit 720 lines 25 fps 2500 kbit/s sound 96 kbit/s keyframe 2 s"
        assert f"hold pause.png 600 s, {fit}, on change reconnect" in full
