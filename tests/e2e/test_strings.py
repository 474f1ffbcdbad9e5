"""Strings that break out, in every name there is: none leaves the data directory, runs, or makes a log line."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

import relay.protocol.rtmp.client as rtmp_client
from relay.protocol.amf0 import EcmaArray, encode
from tests.e2e.conftest import Start
from tests.support import clips, strings
from tests.support.browser import browsing
from tests.support.load import repeat
from tests.support.process import Processes
from tests.support.publisher import Publisher, Refused
from tests.support.relay import Relay
from tests.support.sink import Behaviour, Sink
from tests.support.visitor import Visitor

PAGES = ("/", "/channels/talk", "/recordings", "/log", "/watch/talk", "/sign-in")
PATHS = (
    "/channels/{}", "/recordings/{}", "/watch/{}", "/live/{}/index.m3u8", "/live/talk/{}", "/s/{}", "/s/assets/{}",
    "/s/{}/state", "/s/{}/qr/larix.svg", "/static/{}", "/api/v1/channels/{}", "/api/v1/channels/talk/destinations/{}",
    "/api/v1/recordings/{}", "/api/v1/recordings/{}/gaps", "/api/v1/recordings/{}/thumbnails", "/api/v1/users/{}",
    "/api/v1/webhooks/{}", "/api/v1/shares/{}", "/recordings/{}/index.m3u8", "/recordings/talk/{}", "/{}",
)  # fmt: skip


async def ask(port: int, method: str, target: bytes, body: bytes = b"", *headers: str) -> tuple[int, bytes]:
    """(status, answer) of one request whose target goes out as it is. 0: the other side closed without an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"Content-Length: {len(body)}", "Host: x", "Connection: close", *headers]
    writer.write(method.encode() + b" " + target + b" HTTP/1.1\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    try:
        async with asyncio.timeout(20):
            answer = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    head = answer.split(b" ", 2)
    return (int(head[1]) if len(head) > 2 and head[1].isdigit() else 0), answer


def spelt(text: str) -> list[bytes]:
    """``text`` as part of a request target: quoted, and as it is where that is one."""
    found = [quote(text, safe="").encode()]
    if text.isascii() and text.isprintable() and " " not in text:
        found.append(text.encode())
    return found


class House:
    """What must stay as it is: what lies around the data directory, and what a log may hold."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self._around = relay.data.parent
        self._before = self._listing()

    def _listing(self) -> set[str]:
        return {str(path) for path in self._around.rglob("*") if not path.is_relative_to(self.relay.data)}

    def check(self) -> None:
        new = {path for path in self._listing() - self._before if not path.endswith((".out", ".err"))}
        assert not {path for path in new if "chromium" not in path and "browser" not in path}, new
        names = [path.name for path in self.relay.data.rglob("*")]
        odd = [
            name for name in names if not name.isascii() or not name.isprintable() or set(name) & set("<>$`|;\"'\\ ")
        ]
        assert not odd, odd
        for place in (Path.cwd(), Path("/"), self.relay.data, self._around):
            assert not (place / strings.CANARY).exists()
        assert self.relay.process is not None
        said = self.relay.process.errors.read_text("utf-8")
        for line in said.splitlines():  # all that begins a line for whoever reads it
            assert json.loads(line)["event"] != "forged"
        assert "\x1b" not in said


@pytest.fixture
async def relay_(start_relay: Start) -> AsyncIterator[Relay]:
    relay = await start_relay(
        ARCHIVE__SEGMENT_S=2, LOG__FORMAT="json", LOG__LEVEL="debug", LIMITS__AUTH_FAILURES_PER_MINUTE=100000
    )
    house = House(relay)
    yield relay
    house.check()


def is_safe(status: int, answer: bytes) -> bool:
    return status < 500 and b"root:" not in answer


async def test_in_paths_and_queries(relay_: Relay) -> None:
    relay = relay_
    await relay.add_channel("talk")
    authorized = f"Authorization: Bearer {relay.token}"
    wrong: list[str] = []
    for text in strings.ALL:
        for part in spelt(text):
            targets = [path.encode().replace(b"{}", part) for path in PATHS]
            targets += [page.encode() + b"?" + part + b"=" + part + b"&next=" + part for page in PAGES]
            found = await asyncio.gather(*(ask(relay.http_port, "GET", target, b"", authorized) for target in targets))
            for target, (status, answer) in zip(targets, found, strict=True):
                body = answer.partition(b"\r\n\r\n")[2]
                head = answer.partition(b"\r\n\r\n")[0].lower()
                raw = text.encode() in body and any(mark in text for mark in "<>") and b"text/html" in head
                if not is_safe(status, answer) or raw or b"forged" in head:
                    wrong.append(f"{status} {target[:100]!r}: {answer[-200:]!r}")
            slate = b"/api/v1/slates/" + part
            for method in ("PUT", "DELETE"):
                status, answer = await ask(relay.http_port, method, slate, b"\x89PNG\r\n\x1a\n", authorized)
                if not is_safe(status, answer) or status in (200, 204):
                    wrong.append(f"{method} {slate[:100]!r}: {status} {answer[-200:]!r}")
    assert not wrong, "\n".join(wrong[:10])
    assert not (relay.data / "slates").exists()


async def test_in_uploads_and_stream_keys(relay_: Relay) -> None:
    relay = relay_
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    wrong: list[str] = []
    for text in strings.ALL:
        upload = b"#EXTM3U\n" + text.encode()[:500]
        for part in spelt(text):
            for target in (b"/ingest/hls/" + part + b"/1.ts", f"/ingest/hls/{channel['stream_key']}/".encode() + part):
                for method in ("PUT", "DELETE", "GET"):
                    status, answer = await ask(relay.ingest_http_port, method, target, upload)
                    if not is_safe(status, answer) or (status in (200, 201) and method == "GET"):
                        wrong.append(f"{method} {target[:100]!r}: {status} {answer[-100:]!r}")
    assert not wrong, "\n".join(wrong[:10])
    for text in strings.ALL:
        if "\ud7ff" in text:
            continue
        for app, name in (("live", text), (text, channel["stream_key"][:-1]), (text, text)):
            publisher = Publisher(f"rtmp://127.0.0.1:{relay.rtmp_port}/x/y")
            publisher._connection._app, publisher._connection._name = app, name
            try:
                await publisher.open()
            except (Refused, OSError):
                continue
            finally:
                with contextlib.suppress(AttributeError):
                    await publisher.abort()
            wrong.append(f"publish to {app[:50]!r} {name[:50]!r} was taken")
    assert not wrong, "\n".join(wrong[:10])
    assert clip.exists()


async def test_in_everything_the_api_takes(relay_: Relay) -> None:
    relay = relay_
    await relay.add_channel("talk")
    url = "rtmp://127.0.0.1:9/app"
    bodies: list[tuple[str, str, str]] = []

    def add(path: str, body: dict[str, Any], method: str = "POST") -> None:
        bodies.append((method, path, json.dumps(body)))

    for text in strings.ALL:
        add("/channels", {"name": text})
        add("/channels", {"name": "fine", "stream_key": text})
        add("/channels", {"name": "fine", "source": {"url": text}})
        add("/channels", {"name": "fine", "source": {"url": f"http://127.0.0.1:9/{text}", "headers": {"X-A": text}}})
        add("/channels", {"name": "fine", "source": {"url": "http://127.0.0.1:9/", "headers": {text: "x"}}})
        add("/channels/talk/destinations", {"name": text, "url": url})
        add("/channels/talk/destinations", {"name": "fine", "url": text})
        add("/channels/talk/destinations", {"name": "fine", "url": f"{url}/{text}", "key": text})
        add("/channels/talk/destinations", {"name": "fine", "url": f"http://127.0.0.1:9/{text}/{{key}}", "key": text})
        add("/channels/talk/destinations", {"name": "fine", "url": url, "platform": text})
        add("/channels/talk/destinations", {"name": "fine", "url": url, "hold": {"mode": "slate", "slate": text}})
        add("/channels/talk/destinations", {"name": "fine", "url": url, "backup": text})
        add("/users", {"name": text, "password": "a good password", "role": "viewer"})
        add("/users", {"name": "fine", "password": f"{text} and long", "role": text})
        add("/webhooks", {"url": text})
        add("/webhooks", {"url": f"http://127.0.0.1:9/{text}", "events": [text]})
        add("/webhooks", {"url": "http://127.0.0.1:9/", "secret": text, "channel": text})
        add("/channels/talk/shares", {"days": 1, "label": text})
        add("/channels/talk", {text: text}, "PATCH")
        add("/apply", {"channels": [{"name": text, "destinations": [{"name": text, "url": text}]}]})
    headers = {"Authorization": f"Bearer {relay.token}", "Content-Type": "application/json"}
    base = f"http://127.0.0.1:{relay.http_port}/api/v1"
    wrong: list[str] = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for method, path, body in bodies:
            async with session.request(method, base + path, data=body) as answer:
                text = await answer.text()
                if answer.status >= 500 or "root:" in text:
                    wrong.append(f"{method} {path} {body[:150]}: {answer.status} {text[:200]}")
            if method == "POST" and answer.status < 300:
                for made in ("/channels/fine", "/channels/talk/destinations/fine", "/users/fine"):
                    async with session.delete(base + made) as gone:
                        assert gone.status < 500
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:10])


async def test_nothing_runs_in_a_browser(
    relay_: Relay, processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What encoders, platforms and strangers say, on every page that shows it."""
    relay = relay_
    nasty = "".join(strings.MARKUP)
    monkeypatch.setattr(rtmp_client, "FLASH_VERSION", nasty)
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    async with contextlib.AsyncExitStack() as stack:
        for number, text in enumerate(strings.MARKUP):
            sink = await stack.enter_async_context(Sink(Behaviour(refuse=lambda app, name, text=text: text)))
            await relay.add_destination("talk", f"own-{number}", f"{sink.url}/{quote(text, safe='')}", "some-key-123")
        await relay.api("POST", "/webhooks", {"url": f"http://127.0.0.1:9/{quote(nasty, safe='')}"})
        publisher = await stack.enter_async_context(Publisher(relay.publish_url(channel)))
        values = EcmaArray({"encoder": nasty, "title": nasty, nasty: nasty, "width": nasty, "videocodecid": nasty})
        publisher.send_tag(18, 0, encode("onMetaData", values))
        sending = asyncio.create_task(repeat(publisher, clip, 300))
        await relay.wait_channel("talk", "live")
        share = await relay.api("POST", "/channels/talk/shares", {"days": 1})
        link = str(share.get("url") or share.get("link")).partition(f":{relay.http_port}")[2]
        async with browsing(processes, tmp_path / "browser") as page:
            visitor = Visitor(page, relay)
            await visitor.sign_in()
            queries = [
                "",
                *(f"?{quote(text)}={quote(text)}&next={quote(text)}#{quote(text)}" for text in strings.MARKUP[:6]),
            ]
            for path in (*PAGES, link):
                for query in queries if path != link else [""]:
                    await visitor.go(path + query)
                    await asyncio.sleep(0.3)
                    assert await page.ask("window.hacked ?? 'no'") == "no", f"{path}{query}"
                    assert not await page.ask(
                        "!!document.querySelector('main img[src=x], main iframe, [onerror], [onload]')"
                    )
            await visitor.go("/channels/talk")
            await visitor.reads("<img src=x", "[data-destination-name=own-0]")
            await asyncio.sleep(1)  # differences come by events
            assert await page.ask("window.hacked ?? 'no'") == "no"
        sending.cancel()
    assert os.path.exists(relay.data)
