"""The route table and the document drawn from it; and who may what, for every operation in it."""

import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from pydantic import BaseModel

from relay.app import App
from relay.web.routes import Route, openapi
from tests.support.app import Browser, browsing
from tests.web.signing import OWN, add_user, sign_in


class Sent(BaseModel):
    name: str


async def handler(request: web.Request) -> web.Response:
    return web.Response()


def test_a_route_becomes_an_operation() -> None:
    document = openapi(
        [
            Route(method="POST", path="/a/{name}", handler=handler, summary="Do", status=201, body=Sent, answer=Sent),
            Route(method="GET", path="/a/{name}", handler=handler, summary="See", query=("q",), public=True),
        ]
    )
    operations = document["paths"]["/a/{name}"]
    assert [item["name"] for item in operations["get"]["parameters"]] == ["name", "q"]
    assert operations["get"]["security"] == []
    reference = {"schema": {"$ref": "#/components/schemas/Sent"}}
    assert operations["post"]["requestBody"]["content"]["application/json"] == reference
    assert operations["post"]["responses"]["201"]["content"]["application/json"] == reference


async def test_every_reference_in_the_served_document_leads_somewhere(browser: Browser) -> None:
    status, document, _ = await browser.ask("GET", "/api/v1/openapi.json", token="")
    assert status == 200
    schemas = set(document["components"]["schemas"])

    def references(value: object) -> "set[str]":
        if isinstance(value, dict):
            own = {value["$ref"].rpartition("/")[2]} if "$ref" in value else set()
            return own.union(*(references(item) for item in value.values())) if value else own
        if isinstance(value, list):
            return set().union(*(references(item) for item in value))
        return set()

    assert references(document) <= schemas
    assert {"ChannelView", "RecordingList", "NewDestination", "Error"} <= schemas
    identifiers = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(identifiers)) == len(identifiers)


# --- who may what: every operation of the document, by everybody -----------------------------------------------------

NOBODY = {"GET /metrics", "GET /healthz", "GET /readyz", "GET /api/v1/openapi.json"}
VIEWERS = {
    "GET /api/v1/channels",
    "GET /api/v1/channels/{name}",
    "GET /api/v1/channels/{name}/destinations",
    "GET /api/v1/channels/{name}/destinations/{destination}",
    "GET /api/v1/channels/{name}/history",
    "GET /api/v1/events",
    "GET /api/v1/pulse",
    "GET /api/v1/recordings",
    "GET /api/v1/recordings/{id}",
    "GET /api/v1/recordings/{id}/export.mp4",
    "HEAD /api/v1/recordings/{id}/export.mp4",
    "GET /api/v1/recordings/{id}/gaps",
    "GET /api/v1/recordings/{id}/index.m3u8",
    "GET /api/v1/recordings/{id}/thumbnails",
    "GET /api/v1/recordings/{id}/verify",
    "GET /api/v1/recordings/{id}/{file}",
    "GET /live/{name}/index.m3u8",
    "GET /live/{name}/state",
    "GET /live/{name}/{playlist}",
    "GET /live/{name}/{run}/{file}",
}
ADMINS = {
    "GET /api/v1/users",
    "POST /api/v1/users",
    "PATCH /api/v1/users/{name}",
    "DELETE /api/v1/users/{name}",
    "POST /api/v1/token/rotate",
    "POST /api/v1/secret-key/rotate",
}
ELSEWHERE = {"Origin": "https://evil.example", "Sec-Fetch-Mode": "cors"}
ROLES = ("nobody", "viewer", "operator", "admin")
EVIL = ({**ELSEWHERE, "Sec-Fetch-Site": "cross-site"}, {**ELSEWHERE, "Sec-Fetch-Site": "same-site"}, ELSEWHERE)
EVIL = (*EVIL, {"Sec-Fetch-Site": "none"}, {"X-CSRF-Token": "guess"}, {})


class Walk:
    """Asks for every operation as one caller, and looks at what each answer says of itself."""

    def __init__(self, app: App, session: aiohttp.ClientSession) -> None:
        self._base = f"http://127.0.0.1:{app.web.port}"
        self._session = session

    async def status(self, method: str, path: str, headers: dict[str, str], query: str = "") -> int:
        """Of the answer's head alone: some go on for ever. Never to another site's pages, always with a policy."""
        # What would be changed is not there, so that nobody changes anything on the way.
        name = "demo" if method == "GET" and "/users" not in path else "none-such"
        path = path.replace("{name}", name).replace("{id}", RECORDING).replace("{", "").replace("}", "")
        url = f"{self._base}{path}{query}"
        async with self._session.request(method, url, headers=headers, allow_redirects=False) as response:
            assert response.headers["Content-Security-Policy"].startswith("default-src 'self'"), path
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"], path
            assert response.headers["X-Content-Type-Options"] == "nosniff", path
            assert response.headers["Referrer-Policy"] == "no-referrer", path
            shared = [header for header in response.headers if header.startswith("Access-Control-")]
            assert not shared, f"{method} {path} lets other sites read it"
            assert response.status < 500, f"{method} {path}: {response.status}"
            return response.status


RECORDING = "20260101T000000Z-abcdef"


@contextlib.asynccontextmanager
async def signed_in(app: App, name: str) -> AsyncIterator[Walk]:
    """Somebody with a session of the console. ``name``: of a user, empty for the admin token."""
    async with browsing(app) as browser:
        await sign_in(browser, name)
        yield Walk(app, browser._session)


async def operations(browser: Browser) -> list[tuple[str, str, str]]:
    """(method, path, who at least) of every operation in the document; what ends the caller's own token comes last."""
    _, document, _ = await browser.ask("GET", "/api/v1/openapi.json", token="")
    found = [
        (method.upper(), path, operation["x-role"])
        for path, own in document["paths"].items()
        for method, operation in own.items()
    ]
    return sorted(found, key=lambda operation: operation[1].endswith("/token/rotate"))


async def test_the_document_says_who_may_what_and_it_is_what_was_decided(app: App, browser: Browser) -> None:
    told: dict[str, set[str]] = {role: set() for role in ROLES}
    for method, path, role in await operations(browser):
        told[role].add(f"{method} {path}")
    assert (told["nobody"], told["viewer"], told["admin"]) == (NOBODY, VIEWERS, ADMINS)
    assert len(told["operator"]) >= 17
    assert all(not item.startswith(("GET /api/v1/users", "HEAD")) for item in told["operator"])
    assert sum(map(len, told.values())) == len(app.web.routes)


@pytest.mark.parametrize("caller", ["nobody", "stranger", "viewer", "operator", "admin", "token"])
async def test_every_operation_is_open_to_its_roles_and_to_nobody_else(app: App, browser: Browser, caller: str) -> None:
    rank = {"token": 3, "stranger": 0}.get(caller) or ROLES.index(caller if caller in ROLES else "nobody")
    headers = dict(OWN)
    if caller in ("token", "stranger"):
        headers["Authorization"] = f"Bearer {browser.token if caller == 'token' else 'guess'}"
    if caller in ("viewer", "operator"):
        await add_user(app, caller, caller)
    is_session = caller in ("viewer", "operator", "admin")
    signed = signed_in(app, "" if caller == "admin" else caller) if is_session else unknown(app)
    async with signed as walk:
        for method, path, role in await operations(browser):
            status = await walk.status(method, path, headers)
            if rank >= ROLES.index(role):
                assert status not in (401, 403), f"{caller}: {method} {path}: {status}"
            else:
                assert status == (403 if rank else 401), f"{caller}: {method} {path}: {status}"


@contextlib.asynccontextmanager
async def unknown(app: App) -> AsyncIterator[Walk]:
    async with aiohttp.ClientSession() as session:
        yield Walk(app, session)


@pytest.mark.parametrize("name", ["viewer", "operator", ""])
async def test_no_session_changes_anything_from_another_site_or_without_a_site(
    app: App, browser: Browser, name: str
) -> None:
    """A cookie alone is no proof of will: whatever changes something wants the mark of the console's own pages."""
    if name:
        await add_user(app, name, name)
    async with signed_in(app, name) as walk:
        for method, path, _ in await operations(browser):
            if method in ("GET", "HEAD"):
                assert await walk.status(method, path, EVIL[0]) != 401, path  # looking changes nothing
                continue
            for headers in EVIL:
                assert await walk.status(method, path, headers) == 401, f"{name or 'admin'}: {method} {path} {headers}"
    assert app.control.channel_names == ("demo",)


@pytest.mark.parametrize("shown", ["link", "read key", "expired", "another's", "forged"])
async def test_a_link_opens_what_it_is_for_and_nothing_else(app: App, browser: Browser, shown: str) -> None:
    """Links to a recording, and to a channel that is to be watched: to look at these, whatever else is asked."""
    links, soon = app.web._links, int(time.time()) + 600
    view = app.control.channel("demo")
    queries = {
        "link": (links.query(RECORDING, soon), app.web._access.link("demo", soon)),
        "read key": ("key=" + view.read_key, "key=" + view.read_key),
        "expired": (links.query(RECORDING, soon - 700), app.web._access.link("demo", soon - 700)),
        "another's": (links.query("other", soon), app.web._access.link("other", soon)),
        "forged": (links.query(RECORDING, soon) + "0", f"expires={soon}&signature="),
    }
    recording, live = queries[shown]
    async with unknown(app) as walk:
        opened = set()
        for method, path, role in await operations(browser):
            statuses = [await walk.status(method, path, OWN, f"?{query}") for query in (recording, live)]
            if role != "nobody" and statuses != [401, 401]:
                opened.add(f"{method} {path}")
    watching = {item for item in VIEWERS if " /live/" in item}
    reading = {item for item in VIEWERS if "/recordings/{id}" in item}
    assert opened == {"link": watching | reading, "read key": watching}.get(shown, set())


async def test_no_other_site_is_told_that_it_may_ask(app: App, browser: Browser) -> None:
    """Before a browser asks from another site it asks whether it may; and pages outside the API say no more."""
    preflight = {
        **ELSEWHERE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    documented = {path for _, path, _ in await operations(browser)}
    pages = {resource.canonical for resource in app.web.app.router.resources()} - documented
    assert {"/", "/sign-in", "/sign-out", "/log", "/s/{token}", "/watch/{name}", "/static/{name}"} <= pages
    async with unknown(app) as walk:
        for path in sorted(documented | pages):
            assert await walk.status("OPTIONS", path, preflight) in (403, 404, 405), path
        for path in sorted(pages):
            assert await walk.status("GET", path, EVIL[0]) in (200, 303, 401, 403, 404, 405), path
            assert await walk.status("POST", path, EVIL[0]) in (303, 403, 404, 405), path
