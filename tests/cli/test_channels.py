"""Channels and destinations as people change them: tables, JSON, and errors of one line."""

import asyncio
import json
from pathlib import Path

import pytest

from relay.cli.channels import show_channel
from relay.control.models import FindingView
from tests.cli.commands import relay
from tests.support.app import running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher


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


async def test_who_may_watch_and_a_link_for_them(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        port = app.web.port
        code, out, _ = await relay("channel", "show", "demo", data=tmp_path, port=port)
        assert "     viewers  signed: with a link or the read key" in out
        assert f"/watch/demo?key={app.control.channel('demo').read_key}" in out
        code, out, _ = await relay("channel", "link", "demo", "--hours", "2", "--json", data=tmp_path, port=port)
        assert (code, "/watch/demo?expires=" in json.loads(out)["watch_url"]) == (0, True)
        code, out, _ = await relay("channel", "viewers", "demo", "public", data=tmp_path, port=port)
        assert (code, app.control.channel("demo").viewers) == (0, "public")
        assert "key=" not in out
        await relay("channel", "viewers", "demo", "off", data=tmp_path, port=port)
        code, out, err = await relay("channel", "link", "demo", data=tmp_path, port=port)
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert "relay channel viewers demo signed" in err
        assert (await relay("channel", "viewers", "demo", "some", data=tmp_path, port=port))[0] != 0


async def test_names_that_cannot_be_are_told_in_one_line(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        for words in (("show", "a b"), ("show", "é"), ("show", "../x"), ("remove", "x?y"), ("add", "UPPER")):
            code, out, err = await relay("channel", *words, data=tmp_path, port=app.web.port)
            assert (code, out, len(err.splitlines())) == (1, "", 1), err
        assert "lower-case" in err


async def test_how_the_link_is_and_for_how_long_it_was_not(tmp_path: Path) -> None:
    clip = await asyncio.to_thread(make, H264)
    async with running_app(tmp_path, archive={"store": "off"}) as app:

        async def show() -> str:
            code, out, err = await relay("channel", "show", "demo", data=tmp_path, port=app.web.port)
            assert (code, err) == (0, "")
            return out

        assert "health" not in await show()
        url = f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{app.control.channel('demo').stream_key}"
        publisher = Publisher(url)
        await publisher.open()
        await publisher.send(clip, speed=None)
        shown = await show()
        assert ("      health  " in shown, "contest" in shown) == (True, False)
        await publisher.abort()
        deadline = asyncio.get_running_loop().time() + 20
        while app.control.channel("demo").state != "holding":
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
        shown = await show()
        assert "       state  holding" in shown
        assert "        hold  " in shown
        assert "s in all, 0 takeovers" in shown


async def test_what_does_not_suit_is_shown_and_cannot_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_app(tmp_path) as app:
        view = app.control.channel("demo")
    finding = FindingView(destination="yt", rule="low_bitrate", words="12 kbit/s is below the 400\x1b[2J")
    live = view.model_copy(update={"state": "live", "is_contested": True, "takeovers": 1, "lint": [finding]})
    show_channel(live.model_dump(), as_json=False)
    shown = capsys.readouterr().out.splitlines()
    assert "      health  not known yet" in shown
    assert "        hold  0 s in all, 1 takeover" in shown
    assert "     contest  two encoders keep taking this key from each other: stop one of them" in shown
    assert "        lint  yt: 12 kbit/s is below the 400 [2J" in shown
