"""The audit log as the web fills it: each change and each sign-in, by whom, how and from where; and who may read it."""

from typing import Any

import pytest

from relay.app import App
from relay.client import AGENT
from relay.control.users import Role
from tests.support.app import Browser
from tests.web.signing import OWN, PASSWORD, add_user, sign_in

KEY = "a-stream-key-of-the-callers-choice"
TALK = {"channel": "talk"}
AT, OWN_PLACE = "/channels/talk", "/channels/talk/destinations/own"
PLACE = {"channel": "talk", "destination": "own"}
SOURCE = {"source": {"url": "https://u:pass-word-1@h.example/x"}}
DESTINATION = {"name": "own", "url": "rtmp://h.example/a", "key": "platform-key-77"}
EVAS = {"user": "eva", "role": "viewer"}
EVA = {"name": "eva", "role": "viewer", "password": PASSWORD}
CHANGES: tuple[tuple[str, str, dict[str, Any] | None, str, dict[str, str]], ...] = (
    ("POST", "/channels", {"name": "talk", "viewers": "off"}, "channel created", TALK | {"fields": "viewers"}),
    ("PATCH", AT, {"stream_key": KEY}, "channel changed", {"channel": "talk", "fields": "stream_key"}),
    ("PATCH", AT, SOURCE, "channel changed", {"channel": "talk", "fields": "source"}),
    ("POST", f"{AT}/rotate-key", None, "stream key changed", {"channel": "talk"}),
    ("POST", f"{AT}/destinations", DESTINATION, "destination added", {**PLACE, "fields": "url, key"}),
    ("PATCH", OWN_PLACE, {"enabled": False}, "destination changed", {**PLACE, "fields": "enabled"}),
    ("DELETE", OWN_PLACE, None, "destination removed", PLACE),
    ("POST", f"{AT}/link", {"hours": 2}, "watch link made", {"channel": "talk", "fields": "hours"}),
    ("POST", "/apply", {"channels": [{"name": "more"}]}, "document applied", {"changes": "channel more created"}),
    ("POST", "/users", EVA, "user added", {"user": "eva", "fields": "role, password", "role": "viewer"}),
    ("PATCH", "/users/eva", {"password": PASSWORD}, "user changed", EVAS | {"fields": "password"}),
    ("DELETE", "/users/eva", None, "user removed", {"user": "eva"}),
    ("POST", "/secret-key/rotate", None, "encryption key changed", {}),
    ("DELETE", AT, None, "channel deleted", {"channel": "talk"}),
)  # fmt: skip


async def newest(app: App) -> dict[str, Any]:
    return (await app.audit.last(1))[0].model_dump()


async def test_each_change_says_who_what_and_from_where_and_no_secret(app: App, browser: Browser) -> None:
    for method, path, body, action, about in CHANGES:
        more: dict[str, Any] = {} if body is None else {"json": body}
        status, answer, _ = await browser.ask(method, f"/api/v1{path}", **more)
        assert status < 300, (path, answer)
        found = await newest(app)
        assert (found["action"], found["about"]) == (action, about)
        assert (found["who"], found["address"], found["via"]) == ("admin token", "127.0.0.1", "api")
    text = app.audit.path.read_text()
    for secret in (KEY, "pass-word-1", "platform-key-77", PASSWORD, browser.token):
        assert secret not in text


async def test_links_and_webhooks_are_named_by_their_ids(app: App, browser: Browser) -> None:
    _, share, _ = await browser.ask("POST", "/api/v1/channels/demo/shares", json={"days": 3})
    found = await newest(app)
    about = {"channel": "demo", "fields": "days", "share": share["id"], "days": "3.0"}
    assert (found["action"], found["about"]) == ("share made", about)
    hook = {"url": "https://hooks.example/services/T0/B0/abcdef", "channel": "demo"}
    _, made, _ = await browser.ask("POST", "/api/v1/webhooks", json=hook)
    found = (await newest(app))["about"]
    assert (found["webhook"], found["host"], found["channel"]) == (made["id"], "https://hooks.example:443", "demo")
    await browser.ask("DELETE", f"/api/v1/webhooks/{made['id']}")
    assert (await newest(app))["about"] == {"webhook": made["id"]}
    await browser.ask("DELETE", f"/api/v1/shares/{share['id']}")
    assert (await newest(app))["action"] == "share taken back"
    text = app.audit.path.read_text()
    assert "abcdef" not in text
    assert made["secret"] not in text
    assert share["url"].rpartition("/")[2] not in text


def test_every_route_that_changes_something_is_audited(app: App) -> None:
    silent = {route.handler.__name__ for route in app.web.routes if route.method != "GET" and not route.audit}
    assert silent == {"start_check", "test_webhook", "describe_export"}, "they change nothing"
    assert not [route.path for route in app.web.routes if route.method == "GET" and route.audit]


async def test_what_did_not_happen_is_not_written(app: App, browser: Browser) -> None:
    before = len(await app.audit.last(1000))
    assert (await browser.ask("DELETE", "/api/v1/channels/none"))[0] == 404
    assert (await browser.ask("POST", "/api/v1/channels", json={"name": "Not A Name"}))[0] == 422
    assert len(await app.audit.last(1000)) == before


async def test_what_broke_half_way_is_written_as_that(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app.control, "delete_channel", broken)
    assert (await browser.ask("DELETE", "/api/v1/channels/demo"))[0] == 500
    assert (await newest(app))["about"] == {"channel": "demo", "outcome": "failed: the log says why"}


async def test_what_retention_deletes_is_written_too(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted = []

    async def delete(recording: str) -> None:
        deleted.append(recording)

    assert app.archive is not None
    monkeypatch.setattr(app.archive, "delete", delete)
    await app.archive.expire("2027-some-recording")
    found = await newest(app)
    assert deleted == ["2027-some-recording"]
    assert (found["who"], found["action"], found["about"]) == (
        "retention", "recording deleted", {"recording": "2027-some-recording"},
    )  # fmt: skip


async def test_sign_ins_and_those_refused(app: App, browser: Browser) -> None:
    await add_user(app, "anna", "operator")
    await sign_in(browser, "anna")
    assert [(await newest(app))[name] for name in ("who", "action", "via")] == ["anna", "signed in", "console"]
    await browser.ask("PATCH", "/api/v1/channels/demo", token="", headers=OWN, json={"expected": True})
    assert [(await newest(app))[name] for name in ("who", "via")] == ["anna", "console"]
    await browser.ask("POST", "/sign-out", token="")
    assert [(await newest(app))[name] for name in ("who", "action")] == ["anna", "signed out"]
    form = {"name": "anna", "token": "a wrong password of anna's"}
    await browser.ask("POST", "/sign-in", token="", data=form)
    found = await newest(app)
    assert (found["who"], found["action"], found["about"]) == ("anna", "sign-in refused", {"reason": "wrong password"})
    await browser.ask("POST", "/sign-in", token="", data={"name": "a password typed as a name", "token": "x"})
    assert (await newest(app))["who"] == "unknown"
    assert (await browser.ask("GET", "/api/v1/channels", token="not-the-token"))[0] == 401
    assert [(await newest(app))[name] for name in ("action", "via")] == ["sign-in refused", "api"]
    await sign_in(browser)
    assert (await newest(app))["who"] == "admin token"
    text = app.audit.path.read_text()
    for secret in ("a wrong password", "a password typed", "not-the-token", PASSWORD):
        assert secret not in text


async def test_the_command_line_is_told_from_other_programs(app: App, browser: Browser) -> None:
    await browser.ask("POST", "/api/v1/channels", json={"name": "cli"}, headers={"User-Agent": AGENT})
    assert (await newest(app))["via"] == "cli"


async def test_operators_and_the_admin_read_it_viewers_do_not(app: App, browser: Browser) -> None:
    await browser.ask("POST", "/api/v1/channels", json={"name": "talk"})
    status, answer, _ = await browser.ask("GET", "/api/v1/audit?last=1")
    assert (status, answer["entries"][0]["about"]["channel"]) == (200, "talk")
    for wrong in ("0", "-1", "x", "10001", "٣"):
        assert (await browser.ask("GET", f"/api/v1/audit?last={wrong}"))[0] == 422
    await sign_in(browser)
    page = (await browser.ask("GET", "/audit", token=""))[1]
    assert "channel created" in page
    assert "admin token" in page
    for name, role in (("anna", Role.OPERATOR), ("eva", Role.VIEWER)):
        await add_user(app, name, role.word)
        await sign_in(browser, name)
        may = role is Role.OPERATOR
        assert (await browser.ask("GET", "/audit", token=""))[0] == (200 if may else 303)
        assert (await browser.ask("GET", "/api/v1/audit", token=""))[0] == (200 if may else 403)
        home = (await browser.ask("GET", "/", token=""))[1]
        assert ('href="/audit"' in home) == may
    entry = await newest(app)
    assert (entry["who"], entry["action"], entry["about"]["wanted"]) == (
        "eva", "not allowed", "Who changed what and who signed in, the newest first",
    )  # fmt: skip
