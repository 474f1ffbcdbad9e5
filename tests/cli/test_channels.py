"""Channels and destinations as people change them: tables, JSON, and errors of one line."""

import json
from pathlib import Path

from relay.cli.channels import _condition
from tests.cli.commands import relay
from tests.support.app import running_app


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


async def test_names_that_cannot_be_are_told_in_one_line(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        for words in (("show", "a b"), ("show", "é"), ("show", "../x"), ("remove", "x?y"), ("add", "UPPER")):
            code, out, err = await relay("channel", *words, data=tmp_path, port=app.web.port)
            assert (code, out, len(err.splitlines())) == (1, "", 1), err
        assert "lower-case" in err


def test_what_to_mend_is_said_in_words() -> None:
    health = {"quality": "poor", "kbps_10s": 310, "kbps_60s": 400, "lag_s": 2.46, "stalls": 2, "suggested_kbps": 250}
    lint = [{"destination": "fb", "rule": "no_audio", "words": "Facebook needs sound"}]
    channel = {"health": health, "held_s": 12.4, "is_contested": True, "lint": lint}
    assert list(_condition(channel)) == [
        ("link", "poor: 310 kbit/s, 2.5 s behind, 2 stalls in the last minute; set the encoder to 250 kbit/s"),
        ("held", "12 s in all, waiting for publishers that were away"),
        ("contest", "two encoders keep taking this key from each other: stop one of them"),
        ("does not suit", "fb: Facebook needs sound"),
    ]
    quiet = {"health": {**health, "quality": "unknown"}, "held_s": 0.0, "is_contested": False, "lint": []}
    assert list(_condition(quiet)) == []
    good = {**quiet, "health": {**health, "quality": "good", "stalls": 0}}
    assert list(_condition(good)) == [("link", "good: 310 kbit/s, 2.5 s behind")]
