"""The console in a real browser, on a real relay with a real encoder: what operators do at an event, start to end."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.test_destinations import png
from tests.e2e.conftest import Start
from tests.support.browser import browsing
from tests.support.clips import DEBIAN_FFMPEG
from tests.support.process import Process, Processes
from tests.support.relay import Relay
from tests.support.sink import Behaviour, Sink
from tests.support.visitor import Visitor

PASSWORD = "correct horse battery"
NASTY = "<img src=x onerror=\"window.hacked='yes'\">"
_PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=640x360:r=25", "-f", "lavfi", "-i", "sine=r=48000")
_CODECS = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "700k", "-g", "25", "-c:a", "aac")


def publish(processes: Processes, url: str, *more: str) -> Process:
    """A real encoder that goes on until it is stopped."""
    words = [DEBIAN_FFMPEG, "-hide_banner", "-nostdin", "-loglevel", "warning", "-re", *_PICTURE, *_CODECS, *more]
    return processes.start(*words, "-f", "flv", url, name="ffmpeg")


@pytest.fixture
async def relay(start_relay: Start) -> Relay:
    return await start_relay(ARCHIVE__SEGMENT_S=2, ARCHIVE__THUMBNAIL_EVERY_S=2, HOLD__LIMIT_S=60)


@pytest.fixture
async def visitor(relay: Relay, processes: Processes, tmp_path: Path) -> AsyncIterator[Visitor]:
    """Somebody at the sign-in page; at the end the browser must have had nothing to complain of."""
    async with browsing(processes, tmp_path / "browser") as page:
        visitor = Visitor(page, relay)
        yield visitor
        assert page.complaints == []


async def hold_with_a_slate(visitor: Visitor) -> None:
    """In the open form of a destination: choose a picture that is no picture, then one that is."""
    page = visitor.page
    await page.ask("document.querySelector('#destination-hold').open = true")
    await visitor.choose("#hold-mode", "slate")
    for text, read in (("a picture", "no PNG, JPEG or MP4 file"), ("", "Back-soon-1.png is uploaded")):
        content = base64.b64encode(text.encode() or png(64, 36)).decode()
        await page.ask(
            f"""(() => {{ const bytes = Uint8Array.from(atob("{content}"), (c) => c.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], "«Back soon» 1.PNG"));
            const field = document.querySelector("#hold-slate-file");
            field.files = files.files;
            field.dispatchEvent(new Event("change", {{ bubbles: true }})); }})()"""
        )
        await visitor.reads(read, "#destination")
    page.complaints[:] = [words for words in page.complaints if "422" not in words]  # the first was meant to be refused


async def wait_recording(relay: Relay, seconds: float) -> str:
    """The id of the newest recording once it is that long."""
    async with asyncio.timeout(60):
        while True:
            found = (await relay.api("GET", "/recordings"))["recordings"]
            if found and found[0]["duration_s"] >= seconds:
                return str(found[0]["id"])
            await asyncio.sleep(0.2)


async def test_an_operator_runs_an_event(relay: Relay, visitor: Visitor, processes: Processes, tmp_path: Path) -> None:
    """From signing in to a clip that plays: nothing but the console, the encoder and the platform."""
    page = visitor.page
    await visitor.sign_in()
    # A new channel, by keyboard alone.
    await page.ask("document.querySelector('[data-open=new-channel]').focus()")
    await visitor.key("Enter")
    await page.until("document.activeElement.id === 'new-name'")
    await visitor.write("#new-name", "Stage One")
    await visitor.key("Enter")
    assert await page.ask("document.querySelector('#new-name').matches(':invalid')"), "the name must be refused"
    await visitor.write("#new-name", "stage-1")
    await visitor.key("Enter")
    await visitor.arrive("location.pathname === '/channels/stage-1'")
    await visitor.reads("offline")

    # The key is not on the page until it is asked for.
    key = (await relay.channel("stage-1"))["stream_key"]
    relay.keys.add(key)
    assert key not in await page.ask("document.documentElement.outerHTML")
    await visitor.press("[data-reveal=stream_key]")
    await visitor.reads(key)
    await visitor.press("[data-reveal=stream_key]")
    assert key not in await visitor.text()
    await visitor.press("[data-reveal=hls_publish_url]")
    await visitor.reads(f"/ingest/hls/{key}/index.m3u8")
    await visitor.press("[data-reveal=hls_publish_url]")

    # A link for whoever streams opens the page for them.
    await visitor.press("[data-share]")
    await page.until("!document.querySelector('[data-share-shown]').hidden")
    link = await page.ask("document.querySelector('[data-share-shown]').textContent")
    assert "Waiting for your phone" in (await relay.fetch(link.partition(str(relay.http_port))[2])).decode()

    # Publish, and see it move.
    encoder = publish(processes, f"rtmp://127.0.0.1:{relay.rtmp_port}/live/{key}")
    await visitor.reads("live", ".title")
    await visitor.reads("H.264 640×360, AAC 48 kHz")
    await page.until("document.querySelector('video').currentTime > 0.5", 60)
    before = await page.ask("document.querySelector('video').currentTime")
    await page.until(f"document.querySelector('video').currentTime > {before} + 1")
    await page.until("!document.querySelector('#charts').hidden && !!document.querySelector('.line[d]')")

    # A destination that works, then breaks, then is mended.
    async with Sink() as platform:
        await visitor.press("[data-destination]")
        await visitor.press(".choice:has([value=custom])")
        await visitor.write("#destination-name", "own")
        await visitor.write("#destination-url", platform.url)
        await visitor.write("#destination-key", "platform-key-1")
        relay.keys.add("platform-key-1")
        await visitor.press("#destination-save")
        await visitor.reads("live", "[data-destination-name=own]")
        await visitor.reads("sent", "[data-destination-name=own]")
        platform.behaviour.refuse = lambda app, name: "no such key" if name != "platform-key-2" else None
        for task in list(platform._tasks):
            task.cancel()
        await visitor.reads("retrying", "[data-destination-name=own]")
        await visitor.reads("refused the stream", "[data-destination-name=own] .problem")
        await visitor.reads("Check address and stream key", "[data-destination-name=own] .problem")
        await visitor.press("[data-edit]")
        await visitor.write("#destination-key", "platform-key-2")
        await hold_with_a_slate(visitor)
        relay.keys.add("platform-key-2")
        await visitor.press("#destination-save")
        await visitor.reads("live", "[data-destination-name=own]")
        await page.until("!document.querySelector('[data-destination-name=own] .problem').getClientRects().length")

        # The link is lost: held, and back.
        encoder.kill()
        await visitor.reads("holding", ".title")
        await visitor.reads("Away; destinations are held meanwhile")
        await relay.wait_destination("stage-1", "own", "live")
        await asyncio.sleep(2)
        encoder = publish(processes, f"rtmp://127.0.0.1:{relay.rtmp_port}/live/{key}")
        await visitor.reads("live", ".title")
        await visitor.reads("Media is back", "[data-log]")
        assert len(platform.of("platform-key-2")) == 1, "the platform must not notice"

        # Paused and removed.
        await visitor.press("[data-destination-name=own] [data-body*=false]")
        await visitor.reads("paused", "[data-destination-name=own]")
        await visitor.press("[data-destination-name=own] [data-edit]")
        await visitor.press("#destination-remove")
        await visitor.press("#confirm-yes")
        await visitor.reads("Not sent anywhere yet")

    # A clip of what was recorded, exported, played and verified.
    recording = await wait_recording(relay, 8)
    encoder.popen.terminate()
    await relay.recording("stage-1")
    await visitor.go(f"/recordings/{recording}")
    assert await page.ask("document.querySelectorAll('#bar .gap').length") == 1
    await visitor.reads("link lost", "#gaps")
    await page.until("document.querySelector('video').readyState >= 1", 30)
    await visitor.write("#from", "0:02")
    await visitor.write("#to", "0:05")
    await visitor.press("#export button[type=submit]")
    await visitor.reads("Ready:", "#export-words")
    assert await page.ask("document.querySelector('#export-save').download.endsWith('.mp4')")
    await page.ask("document.querySelector('#clip').play()")
    await page.until("document.querySelector('#clip').currentTime > 1")
    await page.until("document.querySelector('#clip').videoWidth === 640")
    await visitor.press("#verify")
    await visitor.reads("All of it is as it was recorded", "#check")
    await visitor.press(".danger-zone button")
    await visitor.press("#confirm-yes")
    await page.until("location.pathname === '/recordings'")
    await visitor.reads("Nothing recorded yet")


async def test_everybody_can_use_every_page(
    relay: Relay, visitor: Visitor, processes: Processes, tmp_path: Path
) -> None:
    """axe-core on each page, dark and light, empty and full of trouble, on a desk and on a phone."""
    page = visitor.page
    await visitor.go("/sign-in")
    await visitor.look(tmp_path, "sign-in")
    await visitor.sign_in()
    await relay.api("DELETE", "/channels/demo")
    for name, path in (("no-channels", "/"), ("no-recordings", "/recordings"), ("log", "/log")):
        await visitor.go(path)
        await visitor.look(tmp_path, name)
    await visitor.go("/")
    await visitor.press("[data-open=new-channel]")
    await visitor.look(tmp_path, "new-channel")
    channel = await relay.add_channel("stage-1")
    await visitor.go("/channels/stage-1")
    await visitor.look(tmp_path, "channel-offline")
    await visitor.press("[data-destination]")
    await visitor.press(".choice:has([value=youtube])")
    await page.ask("for (const details of document.querySelectorAll('dialog details')) details.open = true")
    await visitor.choose("#hold-mode", "slate")
    await visitor.look(tmp_path, "destination")
    async with Sink(Behaviour(refuse=lambda app, name: "no such key")) as platform:
        await relay.add_destination("stage-1", "own", platform.url, "wrong-key-1")
        await relay.add_destination("stage-1", "later", platform.url, "wrong-key-2", enabled=False)
        encoder = publish(processes, relay.publish_url(channel))
        await visitor.go("/channels/stage-1")
        await visitor.reads("refused the stream", "#destinations")
        await page.until("document.querySelector('video').currentTime > 0.5", 60)
        for theme in ("light", "dark"):
            await page.ask(f"document.documentElement.dataset.theme = '{theme}'; new Promise(d => setTimeout(d, 200))")
            await visitor.look(tmp_path, f"channel-live-{theme}")
        await wait_recording(relay, 3)
        encoder.kill()
        await visitor.reads("holding", ".title")
        await visitor.look(tmp_path, "channel-holding")
        recording = await wait_recording(relay, 3)
        await page.ask("localStorage.setItem('theme', 'light')")
        for name, path in (("home", "/"), ("recordings", "/recordings"), ("recording", f"/recordings/{recording}")):
            await visitor.go(path)
            await visitor.look(tmp_path, name)


async def test_text_stays_text_wherever_it_comes_from(relay: Relay, visitor: Visitor, processes: Processes) -> None:
    """What encoders, platforms and operators write is shown, and never run."""
    page = visitor.page
    channel = await relay.add_channel("stage-1")
    async with Sink(Behaviour(refuse=lambda app, name: NASTY)) as platform:
        await relay.add_destination("stage-1", "own", f"{platform.url}/{NASTY.replace(' ', '%20')}", "some-key-123")
        publish(processes, relay.publish_url(channel), "-metadata", f"encoder={NASTY}", "-flvflags", "+no_sequence_end")
        await visitor.sign_in()
        await visitor.go("/channels/stage-1")
        await visitor.reads(NASTY, "[data-destination-name=own]")
        await visitor.reads(NASTY, "[data-log]")
        await visitor.press("[data-destination]")
        await visitor.press(".choice:has([value=custom])")
        for field, value in (("name", NASTY), ("url", NASTY), ("key", NASTY)):
            await visitor.write(f"#destination-{field}", value)
        await page.ask("document.querySelector('#destination form').noValidate = true")
        await visitor.press("#destination-save")
        await visitor.reads("lower-case letters", "#destination .error")
        await visitor.go("/log")
        await visitor.reads(NASTY, "[data-log]")
        await visitor.go("/")
        await visitor.reads("own does not take the stream")
    assert await page.ask("window.hacked ?? 'no'") == "no"
    assert page.complaints[:-1] == []
    assert "422" in page.complaints.pop()


@contextlib.asynccontextmanager
async def another_site(host: str, body: str) -> AsyncIterator[str]:
    """A page elsewhere; its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://{host}:{server.sockets[0].getsockname()[1]}/"


async def test_another_sites_page_changes_nothing(relay: Relay, visitor: Visitor) -> None:
    """Neither one of the same host, to which the browser sends the cookie along, nor a stranger's."""
    page = visitor.page
    await visitor.sign_in()
    before = await relay.channel("demo")
    relay.keys.add(before["stream_key"])
    address = f"{visitor.base}/api/v1/channels/demo/rotate-key"
    attack = (
        f"<form method=post action='{address}'></form><script>"
        f"fetch('{address}', {{method: 'POST', credentials: 'include', mode: 'no-cors'}})"
        ".finally(() => { window.tried = 'yes'; });</script>"
    )
    for host in ("127.0.0.1", "localhost"):
        async with another_site(host, attack) as elsewhere:
            await page.open(elsewhere)
            await page.until("window.tried === 'yes'")
            await page.ask("document.querySelector('form').submit()")
            await page.until("document.body.innerText.includes('unauthorized')")
    assert await relay.channel("demo") == before
    await visitor.go("/")
    await visitor.reads("demo")  # still signed in: it was the site that was refused
    page.complaints.clear()  # the refusals


async def test_a_viewer_looks_and_changes_nothing(relay: Relay, visitor: Visitor) -> None:
    page = visitor.page
    channel = await relay.channel("demo")
    relay.keys |= {channel["stream_key"], channel["read_key"], PASSWORD}
    await relay.api("POST", "/users", {"name": "anna", "role": "viewer", "password": PASSWORD})
    await visitor.sign_in("anna", PASSWORD)
    await visitor.reads("viewer", ".me")
    await visitor.go("/channels/demo")
    await visitor.reads("offline")
    assert await page.ask("document.querySelectorAll('main button:not([data-copy]), main form').length") == 1  # sound
    answer = await page.ask("fetch('/api/v1/channels/demo').then(r => r.text())")
    assert channel["stream_key"] not in answer
    assert channel["read_key"] not in answer
    for method, path in (("POST", "rotate-key"), ("DELETE", "")):
        address = f"/api/v1/channels/demo/{path}".rstrip("/")
        assert await page.ask(f"fetch('{address}', {{method: '{method}'}}).then(r => r.status)") == 403
    # Whoever is removed is out at once.
    await relay.api("DELETE", "/users/anna")
    await page.until("location.pathname === '/sign-in'")
    page.complaints.clear()  # the refusals
    assert await relay.channel("demo") == channel
