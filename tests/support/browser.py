"""A headless Chromium driven over its DevTools protocol: opens a page, asks it things, takes pictures of it."""

import asyncio
import base64
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.chromium import CHROMIUM, HEADLESS
from tests.support.process import Processes


class Page:
    """One tab. ``complaints`` are the errors its console showed."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            heard = json.loads(message.data)
            if heard.get("id") in self._answers:
                self._answers.pop(heard["id"]).set_result(heard)
            elif heard.get("method") == "Log.entryAdded" and heard["params"]["entry"]["level"] == "error":
                entry = heard["params"]["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
            elif heard.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(heard["params"]["exceptionDetails"])[:500])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(30):
            heard = await answer
        assert "error" not in heard, f"{method}: {heard['error']}"
        result: dict[str, Any] = heard["result"]
        return result

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def ask(self, expression: str) -> Any:
        """What JavaScript ``expression`` is on the page, awaited."""
        heard = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in heard, heard["exceptionDetails"]
        return heard["result"].get("value")

    async def until(self, expression: str, within: float = 30.0) -> Any:
        """What ``expression`` is once it is true."""
        deadline = time.monotonic() + within
        while not (found := await self.ask(expression)):
            assert time.monotonic() < deadline, f"not after {within} s: {expression}; {await self.state()}"
            await asyncio.sleep(0.1)
        return found

    async def state(self) -> Any:
        """How its video is, for messages."""
        return await self.ask(
            "(v => v && {time: v.currentTime, paused: v.paused, ready: v.readyState, said: document.body.innerText,"
            " error: v.error && v.error.message})(document.querySelector('video'))"
        )

    async def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile,
        )  # fmt: skip

    async def picture(self, path: Path) -> None:
        """A PNG of what it shows."""
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"]))

    async def close(self) -> None:
        self._reading.cancel()
        await self._socket.close()


@contextlib.asynccontextmanager
async def browsing(processes: Processes, folder: Path, *, within: float = 60.0) -> AsyncIterator[Page]:
    """A browser with one empty tab."""
    browser = processes.start(
        CHROMIUM,
        *HEADLESS,
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}/chromium",
        "about:blank",
        name="chromium",
    )
    deadline = time.monotonic() + within
    while not (found := re.search(r"ws://127\.0\.0\.1:([0-9]+)/", browser.text())):
        assert time.monotonic() < deadline, f"no browser: {browser.tail()}"
        await asyncio.sleep(0.1)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{found[1]}/json/list") as response:
            tabs = await response.json()
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        async with session.ws_connect(address, max_msg_size=0) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Log"):
                await page.call(f"{domain}.enable")
            try:
                yield page
            finally:
                await page.close()
                browser.kill()
