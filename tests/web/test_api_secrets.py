"""Another admin token, another encryption key: at once, without a restart, and nothing of before opens anything."""

import json

from relay.app import App
from relay.control.models import ChannelChange, SourceOptions
from tests.support.app import Browser, browsing
from tests.web.signing import OWN, add_user, sign_in


async def test_the_old_token_and_its_sessions_end_at_once(app: App, browser: Browser) -> None:
    await add_user(app, "anna", "operator")
    async with browsing(app) as annas, browsing(app) as listening:
        await sign_in(annas, "anna")
        await sign_in(browser)
        await sign_in(listening)
        async with listening._session.get(f"{listening.base}/api/v1/pulse?log=1") as events:
            assert events.status == 200
            status, made, _ = await browser.ask("POST", "/api/v1/token/rotate")
            assert (status, made["token"]) == (200, app.token.reveal())
            assert made["file"].endswith("admin.token")
            assert made["token"] != browser.token
            assert (await browser.ask("GET", "/api/v1/channels"))[0] == 401
            assert (await browser.ask("GET", "/api/v1/channels", token=""))[0] == 401, "the session, too"
            assert (await browser.ask("GET", "/", token=""))[0] == 303
            assert (await browser.ask("GET", "/api/v1/channels", token=made["token"]))[0] == 200
            assert (await annas.ask("GET", "/api/v1/channels", token=""))[0] == 200, "users stay"
            while await events.content.read(4096):  # what was listened to by the old token ends, too
                pass
        assert (await annas.ask("POST", "/api/v1/token/rotate", token="", headers=OWN))[0] == 403
    assert made["token"] not in app.audit.path.read_text()


async def test_another_key_of_encryption_changes_nothing_else(app: App, browser: Browser) -> None:
    source = SourceOptions(url="https://u:pass-word-1@h.example/x.m3u8")
    await app.control.change_channel("demo", ChannelChange(source=source))
    before = app.control.channel("demo").stream_key
    _, link, _ = await browser.ask("POST", "/api/v1/channels/demo/link", json={})
    path = "/live/demo/index.m3u8?" + link["playback_url"].partition("?")[2]
    assert (await browser.ask("GET", path, token=""))[0] != 401
    status, answer, _ = await browser.ask("POST", "/api/v1/secret-key/rotate")
    assert (status, answer) == (200, {"secrets": 3})
    assert app.control.channel("demo").stream_key == before
    (row,) = await app.database.channels.all()
    assert (row.stream_key.reveal(), json.loads(row.source.reveal())["url"]) == (before, source.url)
    assert (await browser.ask("GET", path, token=""))[0] == 401, "a link signed with the key before"
