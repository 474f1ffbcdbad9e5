"""Links to a streamer's page by command."""

import json
from pathlib import Path

from tests.cli.commands import relay
from tests.support.app import running_app


async def test_a_link_is_made_listed_and_taken_back(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        port = app.web.port
        code, out, _ = await relay("channel", "shares", "demo", data=tmp_path, port=port)
        assert (code, out) == (0, "no links; make one with `relay channel share demo`\n")
        code, out, _ = await relay("channel", "share", "demo", "--days", "2", data=tmp_path, port=port)
        assert code == 0
        assert f"http://127.0.0.1:{port}/s/" in out
        assert "RELAY_HTTP__SHARE_LISTEN" in out
        code, out, _ = await relay("channel", "shares", "demo", "--json", data=tmp_path, port=port)
        [share] = json.loads(out)["shares"]
        code, out, _ = await relay("channel", "shares", "demo", data=tmp_path, port=port)
        assert share["id"] in out
        code, out, _ = await relay("channel", "unshare", share["id"], data=tmp_path, port=port)
        assert (code, out) == (0, f"link {share['id']} taken back\n")
        code, out, err = await relay("channel", "unshare", share["id"], data=tmp_path, port=port)
        assert (code, out) == (1, "")
        assert err.startswith("relay: there is no link")


async def test_where_phones_can_reach_it_there_is_no_note(tmp_path: Path) -> None:
    http = {"listen": "127.0.0.1:0", "share_listen": "0.0.0.0:0"}
    async with running_app(tmp_path, http=http) as app:
        code, out, _ = await relay("channel", "share", "demo", "--json", data=tmp_path, port=app.web.port)
        made = json.loads(out)
        assert code == 0
        assert (made["is_local"], made["hint"]) == (False, "")
        assert f":{app.web.share_port}/s/" in made["url"]
