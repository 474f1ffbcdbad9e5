"""The commands for token, key and audit log, against a real API."""

import json
from pathlib import Path

from tests.cli.commands import relay
from tests.support.app import running_app


async def test_token_and_key_are_changed_and_it_can_be_read_who_did(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        port, before = app.web.port, app.token.reveal()
        code, out, err = await relay("audit", data=tmp_path, port=port)
        assert (code, out.strip(), err) == (0, "nothing has been changed yet", "")
        code, out, err = await relay("token", "rotate", data=tmp_path, port=port)
        assert (code, err) == (0, "")
        assert str(tmp_path / "admin.token") in out
        assert app.token.reveal() != before
        assert app.token.reveal() not in out
        _, out, _ = await relay("token", "rotate", "--show", data=tmp_path, port=port)
        assert app.token.reveal() in out
        _, out, _ = await relay("--token", app.token.reveal(), "token", "rotate", "--json", data=tmp_path, port=port)
        assert json.loads(out)["token"] == app.token.reveal()
        code, _, err = await relay("--token", before, "token", "rotate", data=tmp_path, port=port)
        assert (code, "admin token" in err) == (1, True)
        _, out, _ = await relay("secret", "rotate", data=tmp_path, port=port)
        assert "2 secrets are encrypted with a new key" in out
        _, out, _ = await relay("audit", "--last", "2", data=tmp_path, port=port)
        assert "encryption key changed" in out
        assert "127.0.0.1 cli" in out
        assert "sign-in refused" in out
        assert "admin token changed" not in out, "that is older"
        _, out, _ = await relay("audit", "--json", data=tmp_path, port=port)
        assert len(json.loads(out)["entries"]) == 5
