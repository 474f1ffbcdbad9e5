"""Users by command: added, listed, given passwords and roles, removed; no password on a command line."""

import json
from pathlib import Path

from relay.secret import Secret
from tests.cli.commands import relay
from tests.support.app import running_app

PASSWORD = b"correct horse battery\n"


async def test_users_by_command(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        port, users = app.web.port, app.web.users
        _, out, _ = await relay("user", "list", data=tmp_path, port=port)
        assert "admin token alone" in out
        words = ("user", "add", "anna", "--role", "viewer")
        code, out, err = await relay(*words, data=tmp_path, port=port, stdin=PASSWORD)
        assert (code, out.strip(), err) == (0, "anna may sign in as viewer", "")
        assert await users.verify("anna", Secret(PASSWORD.decode().strip())) is not None
        code, out, err = await relay(*words, data=tmp_path, port=port, stdin=PASSWORD)
        assert (code, err.startswith("relay: there is already a user anna")) == (1, True)
        await relay("user", "role", "anna", "operator", data=tmp_path, port=port)
        _, out, _ = await relay("user", "list", "--json", data=tmp_path, port=port)
        assert json.loads(out) == {"users": [{"name": "anna", "role": "operator"}]}
        _, out, _ = await relay("user", "list", data=tmp_path, port=port)
        assert "anna" in out
        code, _, _ = await relay("user", "passwd", "anna", data=tmp_path, port=port, stdin=b"another password\n")
        assert code == 0
        assert await users.verify("anna", Secret("another password")) is not None
        assert (await relay("user", "remove", "anna", data=tmp_path, port=port))[0] == 0
        assert users.list() == []


async def test_what_does_not_fit_is_told_in_one_line(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        for words, stdin, told in (
            (("add", "anna", "--role", "viewer"), b"short\n", "at least 10"),
            (("add", "An na", "--role", "viewer"), PASSWORD, "lower-case"),
            (("add", "anna", "--role", "viewer", "--password", "on the command line"), b"", "not given on the command"),
            (("remove", "anna"), b"", "no user anna"),
        ):
            code, out, err = await relay("user", *words, data=tmp_path, port=app.web.port, stdin=stdin)
            assert (code, out, len(err.splitlines())) == (1, "", 1), err
            assert told in err
