"""WebServer: who is let in, how errors read, what is public; every route of the API document is tried."""

import asyncio
import gzip
import logging
from pathlib import Path

import aiohttp
import pytest
import structlog

from relay.app import App
from relay.audit import AuditLog
from relay.budget import ConnectionBudget
from relay.config import HttpSettings, Settings
from relay.control.history import History
from relay.control.token import AdminToken
from relay.errors import ConfigError
from relay.hub import Hub
from relay.web.events import EventLog
from relay.web.server import WebServer
from tests.support.app import Browser, browsing, running_app
from tests.support.process import free_port
from tests.support.tls import make_certificates


async def test_every_operation_of_the_document_wants_the_token_unless_it_says_it_is_public(browser: Browser) -> None:
    _, document, _ = await browser.ask("GET", "/api/v1/openapi.json", token="")
    tried = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            address = path.replace("{", "").replace("}", "")
            for token in ("", "wrong"):
                status, _, _ = await browser.ask(method.upper(), address, token=token)
                is_public = operation.get("security") == []
                assert (status != 401) == is_public, f"{method} {path} with token {token!r}: {status}"
                tried += 1
    assert tried >= 36


async def test_what_is_public_says_nothing_secret(app: App, browser: Browser) -> None:
    key = app.control.channel("demo").stream_key
    for path in ("/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/sign-in"):
        status, body, _ = await browser.ask("GET", path, token="")
        text = str(body)
        assert status == 200
        assert key not in text
        assert browser.token not in text


async def test_ready_only_while_everything_works(app: App, browser: Browser) -> None:
    status, body, _ = await browser.ask("GET", "/readyz")
    assert (status, body) == (200, {"ready": True, "problems": []})
    app.web._problems = lambda: ["the object store fails: no route to host"]
    status, body, _ = await browser.ask("GET", "/readyz")
    assert (status, body["problems"]) == (503, ["the object store fails: no route to host"])


async def test_errors_are_json_that_says_what_to_do(browser: Browser) -> None:
    status, body, response = await browser.ask("GET", "/api/v1/channels", token="")
    assert status == 401
    assert "admin.token" in body["error"]["message"]
    assert response.headers["WWW-Authenticate"] == "Bearer"
    status, body, _ = await browser.ask("GET", "/no/such/place")
    assert (status, body["error"]["message"]) == (404, "there is nothing here")
    status, body, _ = await browser.ask("PUT", "/api/v1/channels")
    assert (status, body["error"]["code"]) == (405, "http")


async def test_every_answer_carries_the_security_headers(browser: Browser) -> None:
    for path in ("/sign-in", "/api/v1/channels", "/healthz", "/nothing"):
        _, _, response = await browser.ask("GET", path)
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with running_app(tmp_path, limits={"http_body_bytes": 1024}) as app, browsing(app) as browser:
        status, _, _ = await browser.ask("POST", "/api/v1/channels", json={"name": "a" * 4000})
        assert status == 413
        assert app.budget.hits["http_body"] == 1


async def test_a_taken_port_is_named_with_its_setting(app: App, tmp_path: Path) -> None:
    taken = f"127.0.0.1:{app.web.port}"
    with pytest.raises(ConfigError, match="RELAY_HTTP__LISTEN"):
        async with running_app(tmp_path / "other", http={"listen": taken}):
            pass
    assert Settings(data_dir=tmp_path).http.listen == "127.0.0.1:8080"


async def raw(app: App, sent: bytes, within: float = 10.0) -> bytes:
    """What the server answers to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", app.web.port)
    try:
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), within)
    finally:
        writer.close()


async def test_a_slow_request_does_not_hold_its_connection(tmp_path: Path) -> None:
    async with running_app(tmp_path, limits={"http_deadline_s": 0.3}) as app, browsing(app) as browser:
        assert await raw(app, b"") == b""
        assert await raw(app, b"GET /healthz HTTP/1.1\r\nHo") == b""
        begun = (
            "POST /api/v1/channels HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n"
            f"Connection: close\r\nAuthorization: Bearer {browser.token}\r\n\r\n{{"
        )
        assert b" 408 " in await raw(app, begun.encode())
        assert not app.web._silent
        assert (app.budget.hits["http_headers"], app.budget.hits["http_body"]) == (2, 1)
        await asyncio.sleep(0.4)
        assert (await browser.ask("GET", "/healthz"))[0] == 200


async def test_a_compressed_body_is_refused(browser: Browser) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(b'{"name": "rally"}')
    status, error, _ = await browser.ask("POST", "/api/v1/channels", data=body, headers=headers)
    assert (status, "uncompressed" in error["error"]["message"]) == (415, True)
    assert (await browser.ask("GET", "/api/v1/channels/rally"))[0] == 404


async def test_a_client_that_goes_away_is_no_fault_of_ours(app: App, browser: Browser) -> None:
    begun = (
        "POST /api/v1/channels HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n"
        f"Authorization: Bearer {browser.token}\r\n\r\n{{"
    )
    with structlog.testing.capture_logs() as logs:
        _, writer = await asyncio.open_connection("127.0.0.1", app.web.port)
        writer.write(begun.encode())
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.1)
    assert [entry for entry in logs if entry["log_level"] not in ("debug", "info")] == []


@pytest.mark.parametrize("where", ["Authorization: Bearer \xff\xfe", "Cookie: relay_session=\xff", "X: \xff"])
async def test_bytes_that_are_no_text_open_nothing_and_break_nothing(app: App, where: str) -> None:
    request = (
        b"GET /api/v1/channels HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + where.encode("latin-1") + b"\r\n\r\n"
    )
    answer = await raw(app, request)
    assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), answer


@pytest.mark.parametrize(
    "sent",
    [b"GET /live/demo/index.m3u8?key=the-key&x=\xff HTTP/1.1\r\n\r\n", b"the-key\r\n\r\n", b"GET /s/the-key\xff"],
)
async def test_what_is_no_request_is_refused_and_never_logged(
    app: App, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Its address may have a key in it, and strangers send as much of it as they like."""
    assert b" 400 " in (await raw(app, sent + b" HTTP/1.1\r\n\r\n"))[:20]
    assert "the-key" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_metrics_want_the_token_where_the_outside_can_ask(tmp_path: Path) -> None:
    async def no_keys() -> int:
        return 0

    def public(settings: Settings) -> bool:
        server = WebServer(
            settings, None, None, None, EventLog(), History(Hub(1.0)),  # type: ignore[arg-type]
            token=AdminToken(tmp_path), audit=AuditLog(tmp_path), reencrypt=no_keys, sign=str,
            metrics=lambda: (b"", "text/plain"), problems=list,
            share_base=lambda: ("", True), budget=ConnectionBudget(settings.limits),
        )  # fmt: skip
        return next(route.public for route in server.routes if route.path == "/metrics")

    assert public(Settings(data_dir=tmp_path))
    outside = Settings(data_dir=tmp_path, http=HttpSettings(listen="0.0.0.0:8080", behind_proxy=True))
    assert not public(outside)


async def test_where_strangers_come_they_see_streamers_pages_only(tmp_path: Path) -> None:
    http = {"listen": "127.0.0.1:0", "share_listen": "127.0.0.1:0"}
    async with running_app(tmp_path, http=http) as app, browsing(app) as browser:
        _, token = await app.control.shares.create("demo")
        browser.base = f"http://127.0.0.1:{app.web.share_port}"
        assert (await browser.ask("GET", f"/s/{token.reveal()}"))[0] == 200
        for route in app.web.routes:
            status, _, response = await browser.ask(route.method, route.path.replace("{name}", "demo"))
            assert status == 404, route.path
            assert "Content-Security-Policy" in response.headers
        for path in ("/", "/sign-in", "/static/console.css", "/s", "//s/x", "/S/x"):
            assert (await browser.ask("GET", path))[0] == 404, path


async def test_two_listeners_never_have_the_same_port(tmp_path: Path) -> None:
    port = free_port()
    http = {"listen": f"127.0.0.1:{port}", "share_listen": f"127.0.0.2:{port}"}
    with pytest.raises(ConfigError, match="share_listen"):
        async with running_app(tmp_path, http=http):
            pass


async def test_the_same_holds_over_tls_and_too_many_strangers_are_cut_off(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "tls")
    http = {
        "listen": "127.0.0.1:0",
        "share_listen": "127.0.0.1:0",
        "tls_certificate": made.certificate,
        "tls_key": made.key,
    }
    limits = {"connections": 2, "http_deadline_s": 30}
    async with running_app(tmp_path / "data", http=http, limits=limits) as app, aiohttp.ClientSession() as session:
        _, token = await app.control.shares.create("demo")
        base = f"https://127.0.0.1:{app.web.share_port}"
        statuses = []
        for path in (f"/s/{token.reveal()}", "/healthz", "/sign-in"):
            async with session.get(base + path, ssl=False) as response:
                statuses.append(response.status)
        assert statuses == [200, 404, 404]
        silent = [await asyncio.open_connection("127.0.0.1", app.web.share_port) for _ in range(4)]
        with pytest.raises(aiohttp.ClientError):
            async with aiohttp.ClientSession() as other, other.get(f"{base}/s/x", ssl=False):
                pass
        async with session.get(f"https://127.0.0.1:{app.web.port}/healthz", ssl=False) as response:
            assert response.status == 200  # the operator's address has room of its own
        for _, writer in silent:
            writer.close()


async def test_a_name_longer_than_files_have_is_not_found(tmp_path: Path) -> None:
    """Seen answering 500, with a traceback in the log, to anybody."""
    async with running_app(tmp_path) as app, browsing(app) as browser:
        status, body, _ = await browser.ask("GET", f"/static/{'a' * 4096}", token="")
    assert (status, body["error"]["code"]) == (404, "http")
