"""Inside a network of its own: a real relay, a real name server, and an ear on every address there is.

``python -m tests.attack.inside FOLDER [--quick]`` is what ssrf.py runs there; it prints the figures as JSON.
"""

import asyncio
import json
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from aiohttp import web

from tests.attack import addresses
from tests.attack.addresses import EAR_PORT, NAMES, ORIGIN_PORT, PUBLIC, PUBLIC6
from tests.support import clips
from tests.support.dns import NameServer
from tests.support.load import repeat
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.relay import ApiError, Relay

WITHIN_S = 30.0
# What an address may be refused with, by whichever door.
REFUSALS = (
    "does not dial",
    "never dials",
    "cannot be looked up",
    "URL",
    "not a URL",
    "is no address",
    "user name",
    "only http and https",
    "redirect",
    "control characters",
    "something that is not fetched",
    "elsewhere",
    "sends on",
    "not a playlist",  # http:///HOST/ is a path on the host that sends there
)


class Ear:
    """Listens on one port of every address and counts who was dialled."""

    def __init__(self) -> None:
        self.heard: Counter[str] = Counter()
        self._server: asyncio.Server | None = None

    @property
    def private(self) -> dict[str, int]:
        """Those that must never be dialled."""
        return {address: count for address, count in self.heard.items() if address not in (PUBLIC, PUBLIC6)}

    async def __aenter__(self) -> Self:
        listening = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(("::", EAR_PORT))
        self._server = await asyncio.start_server(self._hear, sock=listening, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str(writer.get_extra_info("sockname")[0])
        self.heard[address.removeprefix("::ffff:") if "." in address else address] += 1
        writer.close()


class Door(ABC):
    """One kind of outbound URL. ``schemes`` it takes; ``at_once``: how many are tried beside each other."""

    schemes: tuple[str, ...]
    at_once = 1000

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.number = 0

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    async def put(self, url: str) -> str:
        """Have it dialled; a name for ``told``. Raises ApiError where it is refused at once."""

    @abstractmethod
    async def told(self, name: str) -> tuple[int, str]:
        """(attempts, last error)."""

    @abstractmethod
    async def remove(self, name: str) -> None: ...

    def fresh(self) -> str:
        self.number += 1
        return f"{self.name.lower()}-{self.number}"


class Destination(Door):
    schemes = ("rtmp", "rtmps", "http", "https")

    async def put(self, url: str) -> str:
        name = self.fresh()
        await self.relay.add_destination("talk", name, url, "some-key-of-a-platform")
        return name

    async def told(self, name: str) -> tuple[int, str]:
        shown = await self.relay.destination("talk", name)
        return shown["attempts"], shown["last_error"]

    async def remove(self, name: str) -> None:
        await self.relay.api("DELETE", f"/channels/talk/destinations/{name}")


class Backup(Destination):
    """The second place of an HLS destination; only the log tells of its errors, and has 50 lines a second for them."""

    schemes = ("http", "https")
    at_once = 20

    async def put(self, url: str) -> str:
        name = self.fresh()
        first = f"http://{PUBLIC}:{ORIGIN_PORT}/taken/{{key}}"
        await self.relay.add_destination("talk", name, first, "some-key-of-a-platform", backup=url)
        return name

    async def told(self, name: str) -> tuple[int, str]:
        for line in self.relay.log.splitlines():
            if f'"{name}"' in line and "backup in trouble" in line:
                return 1, str(json.loads(line)["reason"])
        return 0, ""


class Source(Door):
    schemes = ("rtmp", "rtmps", "http", "https")

    async def put(self, url: str) -> str:
        name = self.fresh()
        await self.relay.add_channel(name, source={"url": url if url.startswith("http") else f"{url}/name"})
        return name

    async def told(self, name: str) -> tuple[int, str]:
        source = (await self.relay.channel(name))["source"]
        return source["attempts"], source["last_error"]

    async def remove(self, name: str) -> None:
        await self.relay.api("DELETE", f"/channels/{name}")


class Webhook(Door):
    schemes = ("http", "https")

    async def put(self, url: str) -> str:
        return str((await self.relay.api("POST", "/webhooks", {"url": url}))["id"])

    async def told(self, name: str) -> tuple[int, str]:
        told = await self.relay.api("POST", f"/webhooks/{name}/test")
        return 1, "" if told["delivered"] else str(told["words"])

    async def remove(self, name: str) -> None:
        await self.relay.api("DELETE", f"/webhooks/{name}")


async def origin(request: web.Request) -> web.Response:
    """On a public address: takes uploads and events, sends on to wherever is asked, has playlists that name hosts."""
    await request.read()
    if request.path.startswith("/away"):
        raise web.HTTPFound(request.query["to"])
    if request.path.startswith("/playlist"):
        kind, where = request.query["kind"], request.query["to"]
        text = addresses.PLAYLISTS[kind].replace("HERE", f"http://{PUBLIC}:{ORIGIN_PORT}").replace("WHERE", where)
        return web.Response(text="#EXTM3U\n" + text, content_type="application/vnd.apple.mpegurl")
    return web.Response(text="ok")


class Siege:
    """Every address through every door."""

    def __init__(self, relay: Relay, ear: Ear) -> None:
        self.relay = relay
        self.ear = ear
        self.figures: list[tuple[str, str, str, bool]] = []
        self.odd: list[str] = []

    async def attempt(self, door: Door, urls: Sequence[str]) -> Counter[str]:
        """How each of ``urls`` ended: refused when given, refused when dialled, or tried."""
        ends: Counter[str] = Counter()
        for at in range(0, len(urls), door.at_once):
            ends += await self._attempt(door, urls[at : at + door.at_once])
        return ends

    async def _attempt(self, door: Door, urls: Iterable[str]) -> Counter[str]:
        ends: Counter[str] = Counter()
        made: dict[str, str] = {}
        for url in urls:
            try:
                made[await door.put(url)] = url
            except ApiError as error:
                ends["refused when given"] += 1
                if error.status not in (400, 422):
                    self.odd.append(f"{door.name} {url}: {error}")
        until = time.monotonic() + WITHIN_S
        for name, url in made.items():
            while True:
                attempts, error = await door.told(name)
                if attempts and error:
                    break
                if time.monotonic() > until:
                    error = "nothing was tried"
                    break
                await asyncio.sleep(0.1)
            refused = any(words in error for words in REFUSALS)
            ends["refused when dialled" if refused else "tried"] += 1
            if not refused:
                self.odd.append(f"{door.name} {url}: {error}")
        for name in made:
            await door.remove(name)
        return ends

    async def assault(self, what: str, door: Door, urls: list[str]) -> None:
        """``urls`` that must all be refused, and nobody dialled."""
        before = dict(self.ear.private)
        ends = await self.attempt(door, urls)
        heard = {address: count for address, count in self.ear.private.items() if count > before.get(address, 0)}
        self.figures.append(
            (
                f"{what}, {door.name.lower()}: {len(urls)} URLs; connects",
                f"{sum(heard.values())} {heard or ''}; " + ", ".join(f"{count} {end}" for end, count in ends.items()),
                "0",
                not heard and sum(ends.values()) == len(urls),
            )
        )


async def besiege(relay: Relay, ear: Ear, server: NameServer, *, quick: bool) -> Siege:
    siege = Siege(relay, ear)
    doors: list[Door] = [Destination(relay), Backup(relay), Source(relay), Webhook(relay)]
    for door in doors:
        # The ear hears what is dialled: all else that is shown here rests on it.
        for scheme in door.schemes:
            before = ear.heard[PUBLIC]
            await siege.attempt(
                door, [f"{scheme}://{PUBLIC}:{EAR_PORT}/app", f"{scheme}://public.example:{EAR_PORT}/app"]
            )
            heard = ear.heard[PUBLIC] - before
            siege.figures.append(
                (f"public address, {door.name.lower()} by {scheme}; connects", str(heard), "≥ 2", heard >= 2)
            )
    siege.odd.clear()
    for door in doors:
        schemes = door.schemes[:1] + door.schemes[2:3] if quick else door.schemes
        for scheme in schemes:
            urls = [f"{scheme}://{host}:{EAR_PORT}/app" for host in addresses.hosts(quick=quick)]
            await siege.assault(f"numeric forms, names, tricks by {scheme}", door, urls)
    for door in doors:
        if "http" in door.schemes:
            away = f"http://{PUBLIC}:{ORIGIN_PORT}/away/{{key}}" if isinstance(door, Backup | Destination) else ""
            base = away or f"http://{PUBLIC}:{ORIGIN_PORT}/away"
            urls = [f"{base}?to={target}" for target in addresses.targets(quick=quick)]
            await siege.assault("redirects", door, urls)
    for kind in addresses.PLAYLISTS:
        urls = [
            f"http://{PUBLIC}:{ORIGIN_PORT}/playlist.m3u8?kind={quote(kind)}&to={target}"
            for target in addresses.targets(quick=quick)
        ]
        await siege.assault(f"playlists: {kind}", doors[2], urls)
    await _rebinding(siege, doors, server)
    odd = "; ".join(siege.odd[:6]) or 0
    siege.figures.append(("refused in other words than those for addresses", str(odd), "0", not siege.odd))
    siege.figures.append(
        ("connects to private addresses in all", f"{siege.ear.private or 0}", "0", not siege.ear.private)
    )
    return siege


async def _rebinding(siege: Siege, doors: list[Door], server: NameServer) -> None:
    """A name that is public when asked first, and private ever after: dialled where it was checked, then refused."""
    for door in doors:
        for scheme in door.schemes:
            name = f"rebind-{door.name.lower()}-{scheme}.example"
            server.names[name] = [[PUBLIC], ["127.0.0.1"]]
            before = siege.ear.heard[PUBLIC]
            made = await door.put(f"{scheme}://{name}:{EAR_PORT}/app")
            until = time.monotonic() + WITHIN_S
            error = ""
            while "loopback" not in error and time.monotonic() < until:
                await asyncio.sleep(0.1)
                _, error = await door.told(made)
                if isinstance(door, Backup) and siege.ear.heard[PUBLIC] > before and server.asked[name] > 3:
                    break  # it is told of once, at the first failure
            await door.remove(made)
            heard = siege.ear.heard[PUBLIC] - before
            siege.figures.append(
                (
                    f"rebinding, {door.name.lower()} by {scheme}; connects to the checked, and to the other address",
                    f"{heard}, {sum(siege.ear.private.values())}",
                    "1, 0",
                    heard == 1 and not siege.ear.private,
                )
            )


async def main(folder: Path, *, quick: bool) -> list[tuple[str, str, str, bool]]:
    processes = Processes(folder)
    runner = web.ServerRunner(web.Server(origin))
    await runner.setup()
    await web.TCPSite(runner, PUBLIC, ORIGIN_PORT).start()
    settings: dict[str, Any] = {"OUTBOUND__ALLOW_PRIVATE": "false", "LIMITS__HLS_REDIRECTS": 3, "LIMITS__DIAL_S": 3}
    relay = Relay(processes, folder / "data", ARCHIVE__STORE="off", **settings)
    try:
        async with Ear() as ear, NameServer(NAMES) as server:
            await relay.start()
            channel = await relay.add_channel("talk")
            clip = await asyncio.to_thread(clips.make, clips.LOAD)
            async with Publisher(relay.publish_url(channel)) as publisher:
                sending = asyncio.create_task(repeat(publisher, clip, 3600))
                await relay.wait_channel("talk", "live")
                siege = await besiege(relay, ear, server, quick=quick)
                sending.cancel()
            await relay.stop()
    finally:
        processes.close()
        await runner.cleanup()
    return siege.figures


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1]), quick="--quick" in sys.argv))) + "\n")
