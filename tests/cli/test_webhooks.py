"""Webhooks by command."""

import json
from pathlib import Path

from tests.cli.commands import relay
from tests.hooks.receiver import Receiver
from tests.support.app import running_app

SECRET = "a-secret-of-the-test-1234"


async def test_a_webhook_is_added_tested_listed_and_removed(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app, Receiver(SECRET) as receiver:
        port = app.web.port
        code, out, _ = await relay("webhook", "list", data=tmp_path, port=port)
        assert (code, out) == (0, "no webhooks; add one with `relay webhook add URL`\n")
        code, out, _ = await relay(
            "webhook", "add", receiver.url, "--channel", "demo", "--event", "channel.live", "--event", "ping",
            "--secret", "-", "--json", data=tmp_path, port=port, stdin=SECRET.encode() + b"\n",
        )  # fmt: skip
        made = json.loads(out)
        assert (code, made["events"], made["channel"]) == (0, ["channel.live", "ping"], "demo")
        code, out, _ = await relay("webhook", "test", made["id"], data=tmp_path, port=port)
        assert (code, out) == (0, "taken\n")
        receiver.status = 404
        code, out, _ = await relay("webhook", "test", made["id"], data=tmp_path, port=port)
        assert (code, out) == (1, f"127.0.0.1:{receiver.port} answered 404\n")
        code, out, _ = await relay("webhook", "list", data=tmp_path, port=port)
        assert made["id"] in out
        assert SECRET not in out
        assert "part-of-the-secret" not in out
        assert (await relay("webhook", "remove", made["id"], data=tmp_path, port=port))[0] == 0
        code, _, err = await relay("webhook", "remove", made["id"], data=tmp_path, port=port)
        assert code == 1
        assert err.startswith("relay: there is no webhook")


async def test_a_secret_made_by_the_relay_is_shown_once(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        code, out, _ = await relay(
            "webhook", "add", "-", data=tmp_path, port=app.web.port, stdin=b"https://hooks.example/token\n"
        )
        assert code == 0
        assert "secret" in out
        assert "token" not in out
        code, _, err = await relay("webhook", "add", "gopher://x", data=tmp_path, port=app.web.port)
        assert (code, len(err.splitlines())) == (1, 1)
