"""A person at the console, in a real browser: reads, types, presses, and looks whether everybody could."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from tests.support.browser import Page
from tests.support.relay import Relay

AXE = Path(__file__).parent.parent / "data" / "axe" / "axe.min.js"
_KEYS = {"Enter": ("\r", 13), "Escape": ("", 27), "Tab": ("", 9), " ": (" ", 32)}
DESKTOP, PHONE = (1280, 800, False), (380, 844, True)


class Visitor:
    """One tab of a browser at one relay."""

    def __init__(self, page: Page, relay: Relay) -> None:
        self.page = page
        self.base = f"http://127.0.0.1:{relay.http_port}"
        self._relay = relay

    async def go(self, path: str) -> None:
        """Open ``path``."""
        await self.page.open("about:blank")
        await self.page.until("location.href === 'about:blank'")
        await self.page.open(self.base + path)
        await self.arrive("location.href !== 'about:blank'")

    async def arrive(self, where: str) -> None:
        """Wait until the page ``where`` is there and its scripts have run."""
        ready = "(!!document.body?.dataset.ready || !document.querySelector('script[type=module]'))"
        await self.page.until(f"{where} && document.readyState === 'complete' && {ready}")

    async def sign_in(self, name: str = "", password: str = "") -> None:
        await self.go("/sign-in")
        if name:
            await self.write("#name", name)
        await self.write("#token", password or self._relay.token)
        await self.press("main button[type=submit]")
        await self.arrive("location.pathname === '/'")

    async def write(self, selector: str, text: str) -> None:
        """Type ``text`` into the field, in place of what is there."""
        await self.page.until(f"!!document.querySelector({json.dumps(selector)})")
        await self.page.ask(f"(f => {{ f.focus(); f.select(); }})(document.querySelector({json.dumps(selector)}))")
        await self.page.call("Input.insertText", text=text)

    async def choose(self, selector: str, value: str) -> None:
        """Choose in a list."""
        await self.page.ask(
            f"(f => {{ f.value = {json.dumps(value)}; f.dispatchEvent(new Event('change', {{bubbles: true}})); }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )

    async def press(self, selector: str, within: float = 15.0) -> None:
        """Press with the mouse, where the element is; something that lies over it would be pressed instead."""
        quoted = json.dumps(selector)
        await self.page.until(
            f"(e => !!e && !e.disabled && e.getClientRects().length > 0)(document.querySelector({quoted}))", within
        )
        place = await self.page.ask(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const box = e.getBoundingClientRect();"
            " const x = box.x + box.width / 2, y = box.y + box.height / 2, hit = document.elementFromPoint(x, y);"
            " return {x, y, isOver: !!hit && (e.contains(hit) || hit.contains(e))}; })"
            f"(document.querySelector({quoted}))"
        )
        assert place["isOver"], f"{selector} is covered by something else"
        for kind in ("mousePressed", "mouseReleased"):
            await self.page.call(
                "Input.dispatchMouseEvent", type=kind, x=place["x"], y=place["y"], button="left", clickCount=1
            )

    async def key(self, name: str) -> None:
        """Press a key: ``Enter``, ``Tab``, ``Escape`` or a space."""
        text, code = _KEYS[name]
        for kind in ("keyDown", "keyUp"):
            await self.page.call(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )  # fmt: skip

    async def text(self, selector: str = "main") -> str:
        found: str = await self.page.ask(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return found

    async def reads(self, words: str, selector: str = "main", within: float = 30.0) -> None:
        """Wait until the page shows ``words`` there."""
        deadline = time.monotonic() + within
        while words not in (shown := await self.text(selector)):
            assert time.monotonic() < deadline, f"{selector} does not say {words!r}: {shown[:3000]}"
            await asyncio.sleep(0.1)

    async def look(self, pictures: Path | None = None, name: str = "") -> None:
        """Whether everybody can use the page as it is: axe-core finds nothing grave, nothing is wider than a phone."""
        for width, height, mobile in (PHONE, DESKTOP):
            await self.page.resize(width, height, mobile=mobile)
            wider = await self.page.ask("document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 0, f"{name} is {wider} px wider than {width} px"
            if pictures is not None:
                await self.page.picture(pictures / f"{name}-{width}.png")
        found: list[Any] = json.loads(await self._axe())
        assert found == [], f"{name}: {json.dumps(found, indent=1)}"

    async def _axe(self) -> str:
        """What axe-core finds serious or critical, as JSON."""
        if not await self.page.ask("!!window.axe"):
            await self.page.ask(f"{AXE.read_text('utf-8')}; 1")
        answer: str = await self.page.ask(
            "axe.run().then(r => { if (r.passes.length < 5) throw new Error('axe saw nothing');"
            " return JSON.stringify(r.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
            ".map(v => [v.id, v.help, v.nodes.map(n => n.target.join(' ') + ': ' + n.failureSummary)])); })"
        )
        return answer
