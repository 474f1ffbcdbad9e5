"""The page of whoever streams, in a real browser the size of a phone: set up, live, link lost, taken back."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import zxingcpp

from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.browser import Page, browsing
from tests.support.process import Process, Processes, free_port
from tests.support.relay import ApiError, Relay
from tests.support.sink import Behaviour, Sink

FIRST_LOAD_BYTES = 30 * 1024
UPDATES_BYTES_A_SECOND = 1024


class Counting:
    """A TCP proxy that counts what comes back from the server: all of it, headers too."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.received = 0

    async def __aenter__(self) -> "Counting":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        for one, other, counts in ((reader, back, False), (there, writer, True)):
            task = asyncio.create_task(self._pump(one, other, counts))
            self._tasks.add(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: bool) -> None:
        try:
            while data := await reader.read(65536):
                self.received += len(data) if counts else 0
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


def encode(processes: Processes, url: str, name: str = "phone") -> Process:
    """A phone that films until it is stopped."""
    words = "-hide_banner -nostdin -loglevel warning -re -f lavfi -i testsrc2=size=320x180:rate=15"
    more = "-f lavfi -i sine=r=48000 -c:v libx264 -preset ultrafast -b:v 300k -g 30 -c:a aac -f flv"
    return processes.start(clips.DEBIAN_FFMPEG, *words.split(), *more.split(), url, name=name)


async def phone(page: Page, *, dark: bool = False, script: bool = True) -> None:
    """Make the tab a phone's, held upright."""
    await page.resize(390, 844, mobile=True)
    theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    await page.call("Emulation.setEmulatedMedia", features=theme)
    await page.call("Emulation.setScriptExecutionDisabled", value=not script)


async def hide(page: Page, hidden: bool) -> None:
    """What the page is told when another app comes to the front, or goes."""
    told = f"Object.defineProperty(document, 'hidden', {{value: {str(hidden).lower()}, configurable: true}});"
    await page.ask(f"{told} document.dispatchEvent(new Event('visibilitychange'))")


async def text(page: Page, node: str) -> str:
    found: str = await page.ask(f"document.getElementById('{node}').innerText")
    return found


async def decoded(relay: Relay, path: str, page: Page) -> str:
    """What the QR code at ``path`` says, drawn by the browser and read by a scanner's library."""
    pixels = await page.ask(
        f"""(async () => {{
          const image = new Image(); image.src = "{path}"; await image.decode();
          const canvas = document.createElement("canvas"); canvas.width = canvas.height = 600;
          const context = canvas.getContext("2d"); context.drawImage(image, 0, 0, 600, 600);
          const data = context.getImageData(0, 0, 600, 600).data; let line = "";
          for (let at = 0; at < data.length; at += 4) line += data[at] > 127 ? "1" : "0";
          return line;
        }})()"""
    )
    grey = bytes(255 if letter == "1" else 0 for letter in pixels)
    [found] = zxingcpp.read_barcodes(memoryview(grey).cast("B", (600, 600)))
    read: str = found.text
    return read


async def share(relay: Relay, channel: str = "talk", port: int | None = None, **more: object) -> tuple[str, str]:
    """(address, id) of a new link, its host and port replaced."""
    made: dict[str, Any] = await relay.api("POST", f"/channels/{channel}/shares", more)
    relay.keys.add(made["url"].rpartition("/")[2])
    return f"http://127.0.0.1:{port or relay.http_port}{urlsplit(made['url']).path}", made["id"]


async def test_the_page_sets_up_a_phone_and_says_how_it_goes(
    relay: Relay, processes: Processes, tmp_path: Path
) -> None:
    channel = await relay.add_channel("talk")
    evil = "<img src=x onerror=document.title='broken'><script>alert(1)</script>"
    refusing = Behaviour(refuse=lambda app, name: evil)
    async with (
        Sink() as sink,
        Sink(refusing) as other,
        Counting(relay.http_port) as wire,
        browsing(processes, tmp_path) as page,
    ):
        await relay.add_destination("talk", "good", f"rtmp://127.0.0.1:{sink.port}/app", "k-1234567890")
        await relay.add_destination("talk", "dead", f"rtmp://127.0.0.1:{free_port()}/app", "k-0987654321")
        await relay.add_destination("talk", "evil", f"rtmp://127.0.0.1:{other.port}/app", "k-5555567890")
        url, number = await share(relay, port=wire.port)
        await phone(page)
        await page.open(url)
        await page.until("document.querySelector('html.js') !== null")
        await asyncio.sleep(1)
        loaded = wire.received
        assert 2000 < loaded <= FIRST_LOAD_BYTES, loaded
        assert await text(page, "head") == "Waiting for your phone"
        await page.picture(tmp_path / "waiting.png")

        await page.ask("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        publish = f"{channel['publish_url']}/{channel['stream_key']}"
        assert await text(page, "url") == publish
        base = urlsplit(url).path
        links = await page.ask("[...document.querySelectorAll('a.button')].map((item) => item.href)")
        assert [await decoded(relay, f"{base}/qr/{kind}.svg", page) for kind in ("larix", "moblin", "url")] == [
            links[0].replace("%5B", "[").replace("%5D", "]"),
            links[1],
            publish,
        ]
        await page.until("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert (await page.ask("document.documentElement.scrollWidth")) <= 390
        heights = await page.ask(
            "[...document.querySelectorAll('a.button, button, summary')].map((item) => item.offsetHeight)"
        )
        assert min(heights) >= 44
        await page.ask("document.querySelector('#h-setup').scrollIntoView()")
        await page.picture(tmp_path / "setup.png")
        await page.ask("document.querySelectorAll('details').forEach((item) => { item.open = false; })")

        film = encode(processes, relay.publish_url(channel))
        await page.until("document.getElementById('head').innerText === 'You are live'")
        await page.until("document.querySelector('[data-key=good] span').innerText === 'Live'")
        await page.until("document.querySelector('[data-key=dead]').className === 'bad'")
        await page.until("document.querySelector('[data-key=evil]').innerText.includes('<img src=x onerror=')")
        assert await page.ask("document.images.length") == 3  # the QR codes
        assert await page.ask("document.title") == "talk: You are live"
        await page.until("/[1-9] of it safe/.test(document.getElementById('safe').innerText)", 60)
        await page.picture(tmp_path / "live.png")
        began, before = time.monotonic(), wire.received
        await asyncio.sleep(10)
        rate = (wire.received - before) / (time.monotonic() - began)
        assert 0 < rate <= UPDATES_BYTES_A_SECOND, rate

        await hide(page, True)
        await asyncio.sleep(2)
        before = wire.received
        await asyncio.sleep(5)
        assert wire.received == before, "behind another app the page uses the link"
        await hide(page, False)

        film.kill()
        await page.until("document.getElementById('head').innerText === 'Link lost'")
        await page.until("/last picture, [12]:[0-5][0-9] left/.test(document.getElementById('sub').innerText)")
        await phone(page, dark=True)
        await page.picture(tmp_path / "lost.png")
        await relay.api("DELETE", f"/shares/{number}")
        await page.until("document.getElementById('head').innerText === 'This link is closed'")
        assert page.complaints == []
        await page.open(url)
        await page.until("/opens nothing/.test(document.body?.innerText)")
        await page.picture(tmp_path / "closed.png")


async def test_without_javascript_it_shows_what_there_is_and_can_be_loaded_again_by_itself(
    relay: Relay, processes: Processes, tmp_path: Path
) -> None:
    channel = await relay.add_channel("talk")
    url, _ = await share(relay)
    async with browsing(processes, tmp_path) as page:
        await phone(page, script=False)
        await page.open(url)
        await asyncio.sleep(1)
        html = await document(page)
        assert "Waiting for your phone" in html
        assert "as it was when it was opened" in html
        film = encode(processes, relay.publish_url(channel))
        await relay.wait_channel("talk", "live")
        await page.open(f"{url}?refresh=1")
        await asyncio.sleep(1)
        assert re.search(r"<meta http-equiv=.?refresh.? content=.?10", await document(page))
        film.kill()
        await relay.wait_channel("talk", "holding")
        until = time.monotonic() + 40
        while "Link lost" not in await document(page):
            assert time.monotonic() < until, "the page is not loaded again"
            await asyncio.sleep(0.5)
        await page.picture(tmp_path / "plain.png")


async def document(page: Page) -> str:
    """The page's HTML, read past its scripts being off."""
    root = (await page.call("DOM.getDocument"))["root"]["nodeId"]
    html: str = (await page.call("DOM.getOuterHTML", nodeId=root))["outerHTML"]
    return html


async def test_a_page_that_gets_no_events_asks_and_a_restart_is_survived(
    relay: Relay, processes: Processes, tmp_path: Path
) -> None:
    await relay.add_channel("talk")
    url, _ = await share(relay)
    async with browsing(processes, tmp_path) as page:
        await phone(page)
        await page.call("Network.enable")
        await page.call("Network.setBlockedURLs", urls=["*/events"])
        await page.open(url)
        await page.until("document.querySelector('html.js') !== null")
        await relay.add_destination("talk", "new", f"rtmp://127.0.0.1:{free_port()}/app", "k-1234567890")
        await page.until("document.querySelector('[data-key=new]') !== null", 20)
        await relay.stop()
        await page.until("!document.getElementById('stale').hidden", 60)
        await relay.start()
        await page.until("document.getElementById('stale').hidden", 60)
        assert await text(page, "head") == "Waiting for your phone"


async def test_phones_reach_the_pages_and_nothing_else(start_relay: Start) -> None:
    port = free_port()
    relay = await start_relay(HTTP__SHARE_LISTEN=f"0.0.0.0:{port}")
    await relay.add_channel("talk")
    made = await relay.api("POST", "/channels/talk/shares", {})
    assert made["url"].startswith(f"http://127.0.0.1:{port}/s/")
    assert (made["is_local"], made["hint"]) == (False, "")
    relay.keys.add(made["url"].rpartition("/")[2])
    inside, relay.http_port = relay.http_port, port
    assert b"Waiting for your phone" in await relay.fetch(urlsplit(made["url"]).path)
    for path in ("/", "/healthz", "/metrics", "/api/v1/channels", "/static/console.css", "/sign-in", "/s/../healthz"):
        with pytest.raises(ApiError) as answer:
            await relay.fetch(path, token=relay.token)
        assert answer.value.status == 404, path
    relay.http_port = inside
