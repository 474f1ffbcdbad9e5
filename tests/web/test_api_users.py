"""Users over the API: for the admin token alone; and what each role may do of everything there is."""

import re

import pytest

from relay.app import App
from relay.control.users import Role
from tests.support.app import Browser
from tests.web.signing import OWN, PASSWORD, add_user, sign_in

LOOKS = {
    "GET /api/v1/channels", "GET /api/v1/channels/{name}", "GET /api/v1/channels/{name}/destinations",
    "GET /api/v1/channels/{name}/destinations/{destination}", "GET /api/v1/channels/{name}/history",
    "GET /api/v1/recordings", "GET /api/v1/recordings/{id}", "GET /api/v1/recordings/{id}/gaps",
    "GET /api/v1/recordings/{id}/thumbnails", "GET /api/v1/recordings/{id}/verify",
    "GET /api/v1/recordings/{id}/export.mp4", "HEAD /api/v1/recordings/{id}/export.mp4",
    "GET /api/v1/recordings/{id}/index.m3u8", "GET /api/v1/recordings/{id}/{file}",
    "GET /live/{name}/index.m3u8", "GET /live/{name}/state", "GET /live/{name}/{playlist}",
    "GET /live/{name}/{run}/{file}", "GET /api/v1/pulse", "GET /api/v1/events", "GET /metrics",
}  # fmt: skip
"""All that a viewer may: what is not named here is for operators."""


async def test_added_changed_and_removed(browser: Browser) -> None:
    users = "/api/v1/users"
    body = {"name": "anna", "role": "viewer", "password": PASSWORD}
    status, answer, _ = await browser.ask("POST", users, json=body)
    assert (status, answer) == (201, {"name": "anna", "role": "viewer"})
    assert (await browser.ask("POST", users, json=body))[0] == 409
    assert (await browser.ask("GET", users))[1] == {"users": [{"name": "anna", "role": "viewer"}]}
    assert (await browser.ask("PATCH", f"{users}/anna", json={"role": "operator"}))[1]["role"] == "operator"
    status, answer, _ = await browser.ask("PATCH", f"{users}/anna", json={"role": "admin"})
    assert status == 422
    assert PASSWORD not in str(answer)
    assert (await browser.ask("DELETE", f"{users}/anna"))[0] == 204
    assert (await browser.ask("DELETE", f"{users}/anna"))[0] == 404


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_nobody_but_the_admin_token_changes_users(app: App, browser: Browser, role: str) -> None:
    await add_user(app, "anna", role)
    await sign_in(browser, "anna")
    for method, path, body in (
        ("GET", "/api/v1/users", None),
        ("POST", "/api/v1/users", {"name": "eve", "role": "operator", "password": PASSWORD}),
        ("PATCH", "/api/v1/users/anna", {"role": "operator"}),
        ("DELETE", "/api/v1/users/anna", None),
    ):
        status, answer, _ = await browser.ask(method, path, token="", headers=OWN, json=body)
        assert (status, answer["error"]["code"]) == (403, "forbidden")
    assert [user.name for user in app.web.users.list()] == ["anna"]


def test_what_viewers_may_is_named_here(app: App) -> None:
    named = {f"{route.method} {route.path}" for route in app.web.routes if route.role is Role.VIEWER}
    public = {f"{route.method} {route.path}" for route in app.web.routes if route.public}
    assert named | public == LOOKS | public


async def test_a_viewer_changes_nothing(app: App, browser: Browser) -> None:
    await add_user(app, "anna", "viewer")
    await sign_in(browser, "anna")
    before = app.control.channel("demo")
    tried = 0
    for route in app.web.routes:
        if route.public or f"{route.method} {route.path}" in LOOKS:
            continue
        path = re.sub(r"\{(\w+)\}", lambda found: "demo" if found[1] == "name" else "x", route.path)
        body = None if route.body is None else {}
        status, _, _ = await browser.ask(route.method, path, token="", headers=OWN, json=body)
        assert status == 403, f"{route.method} {route.path}"
        tried += 1
    assert tried >= 14
    assert app.control.channel("demo") == before


async def test_a_viewer_sees_no_key_anywhere(app: App, browser: Browser) -> None:
    await add_user(app, "anna", "viewer")
    await sign_in(browser, "anna")
    view = app.control.channel("demo")
    for path in ("/", "/channels/demo", "/recordings", "/log", "/api/v1/channels", "/api/v1/channels/demo",
                 "/api/v1/events", "/metrics"):  # fmt: skip
        status, body, _ = await browser.ask("GET", path, token="")
        assert status == 200, path
        assert view.stream_key not in str(body), path
        assert view.read_key not in str(body), path
    page = (await browser.ask("GET", "/channels/demo", token=""))[1]
    for word in ("data-reveal", "data-api", "Add destination", "Delete"):
        assert word not in page
