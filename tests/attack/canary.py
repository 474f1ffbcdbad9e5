"""Canary secrets through a whole run: a relay at work and in trouble, its log at its wordiest, and none is let out.

Every kind of secret is planted and used: keys in paths and queries, credentials of sources, destinations, webhooks and
store, users, tokens, links. Then all that a relay writes, shows, starts and stores is searched.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.attack.planted import CHANNEL_KEYS, CLIP, Planted
from tests.chaos.bench import Bench
from tests.support.canaries import Canaries
from tests.support.origin import Origin
from tests.support.process import Processes
from tests.support.publisher import Publisher, Refused
from tests.support.relay import ApiError, Relay
from tests.support.s3 import serve

OWN_FILES = {"secret.key", "admin.token", "evidence.key"}
"""Files of the data directory that are secrets."""
_PAGES = "/ /channels/path /recordings /log /audit /watch/path /sign-in /metrics /readyz /no"
PAGES = tuple(_PAGES.split())
ARRIVE_S = 60.0


class Row(NamedTuple):
    """One line of the table."""

    what: str
    found: str
    must: str
    good: bool


async def run(bench: Bench) -> None:
    """As one of the attacks."""
    for row in await canary(bench.processes, bench.folder, quick=bench.quick):
        bench.figure(row.what, row.found, row.must, row.good)


async def canary(processes: Processes, folder: Path, *, quick: bool) -> list[Row]:
    """Plant, use, search; the rows say what was found where. ``quick``: one round of trouble, else three."""
    canaries = Canaries()
    async with contextlib.AsyncExitStack() as stack:
        s3 = await stack.enter_async_context(serve(processes, folder))
        canaries.add("secret key of the store", s3.secret_key)
        relay = Relay(processes, folder / "data", "canary", **s3.settings, **SETTINGS)
        relay.command = (sys.executable, "-m", "tests.support.leaky")
        await relay.start()
        house = House(relay, s3, canaries)
        await house.furnish(stack)
        for _ in range(1 if quick else 3):
            await house.live()
            await house.trouble()
        await house.visit()
        await house.close()
        for key in await asyncio.to_thread(s3.keys):
            canaries.look("object keys", key)
            canaries.look("objects", await asyncio.to_thread(s3.object, key))
    return house.rows()


SETTINGS = {
    "LOG__LEVEL": "debug", "LIMITS__RETRY_FIRST_S": 0.2, "LIMITS__RETRY_MOST_S": 0.5, "ARCHIVE__SEGMENT_S": 2,
    "LIMITS__DIAL_S": 2,
}  # fmt: skip


class House(Planted):
    """The relay at work, in trouble, and searched."""

    # --- using ----------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Everybody publishes as they do; meanwhile a transcoder and a reader of uploads are killed."""
        keys = self.canaries.texts
        host = f"rtmp://127.0.0.1:{self.relay.rtmp_port}/live"
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish(f"{host}/{keys['stream key, in a path']}"))
            group.create_task(self._publish(f"{host}/x?key={keys['stream key, in a query']}"))
            group.create_task(self._upload(keys["stream key, of uploads"]))
            group.create_task(self._kill_a_child("flv"))
            group.create_task(self._kill_a_child("demux_worker"))

    async def _publish(self, url: str) -> None:
        """The clip, and again until every destination that works has had something of it."""
        until = time.monotonic() + ARRIVE_S
        async with Publisher(url) as publisher:
            await publisher.send(self.clip)
            offset_ms = 0
            while not self._has_arrived() and time.monotonic() < until:
                offset_ms += CLIP.seconds * 1000
                await publisher.send(self.clip, offset_ms=offset_ms)
        self.used["published by RTMP"] = True

    def _has_arrived(self) -> bool:
        names = ("destination key", "key of a fitted destination", "key at the end of a destination URL")
        arrived = {arrival.name for arrival in self.sink.connections if arrival.listing.items}
        return {self.canaries.texts[name] for name in names} <= arrived and bool(self.uploads.segments)

    async def _upload(self, key: str) -> None:
        base = f"http://127.0.0.1:{self.relay.ingest_http_port}/ingest/hls/{key}"
        async with aiohttp.ClientSession() as client:
            for name, data in sorted(self.segments.items()):
                if name.endswith(".ts"):
                    async with client.put(f"{base}/{name}", data=data) as answer:
                        self.used["published by HLS"] = answer.status < 300
                    await asyncio.sleep(0.3)
            async with client.put(f"{base}/../{name}%00", data=b"no media at all") as answer:
                self.canaries.look("API answers", await answer.read())

    async def _kill_a_child(self, program: str) -> None:
        """Once a child that runs ``program`` is there, and a moment later."""
        self.used.setdefault(f"a child killed: {program}", False)
        until = time.monotonic() + ARRIVE_S
        while time.monotonic() < until:
            self.family.look()
            found = self.family.pids(program)
            if found:
                await asyncio.sleep(1)
                self.family.look()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found[0], signal.SIGKILL)
                self.used[f"a child killed: {program}"] = True
                return
            await asyncio.sleep(0.1)

    async def trouble(self) -> None:
        """Wrong keys and tokens, a store that is gone, webhooks refused, wrong requests, and two that break."""
        relay, new = self.relay, self.canaries.new
        await self._publish_wrongly(new("wrong stream key"))
        self.hook.status = 500
        for hook in (await relay.api("GET", "/webhooks"))["webhooks"]:
            told = await relay.api("POST", f"/webhooks/{hook['id']}/test")
            self.canaries.look("API answers", repr(told))
            self.used["webhooks that failed"] = not told["delivered"]
        self.s3.kill()
        await self._wrong_requests(new("secret in a wrong request"))
        await self._break_a_request(new("password in a request that broke"))
        await self._leak()
        with contextlib.suppress(ApiError):
            await relay.fetch("/api/v1/channels", token=new("wrong admin token"))
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            for form in (
                {"token": new("wrong token at the door")},
                {"name": "eva", "token": new("wrong password")},
                {"name": new("password typed as a name"), "token": "x"},
            ):
                async with client.post(f"{self.base}/sign-in", data=form) as answer:
                    # What was typed as a name is in the form again, for whoever typed it.
                    self.canaries.look("API answers", await answer.read(), ["password typed as a name"])
        old = self.canaries.texts["stream key, in a query"]
        changed = await relay.api("POST", "/channels/query/rotate-key")
        self.canaries.add(f"stream key before {len(self.canaries.texts)}", old)
        self.canaries.texts["stream key, in a query"] = changed["stream_key"]
        await self._publish_wrongly(old)
        await asyncio.sleep(1)
        await self.s3.start()
        self.hook.status = 204

    async def _publish_wrongly(self, key: str) -> None:
        for url in (f"live/{key}", f"live/x?key={key}"):
            with contextlib.suppress(Refused):
                async with Publisher(f"rtmp://127.0.0.1:{self.relay.rtmp_port}/{url}"):
                    raise AssertionError("a wrong key was let in")
        async with aiohttp.ClientSession() as client:
            address = f"http://127.0.0.1:{self.relay.ingest_http_port}/ingest/hls/{key}/1.ts"
            async with client.put(address, data=b"x") as answer:
                self.canaries.look("API answers", await answer.read())

    async def _wrong_requests(self, secret: str) -> None:
        """Each with a secret where it does not belong; the answer must not say it again."""
        for path, body in (
            ("/channels", {"name": f"Bad {secret}"}),
            ("/channels", {"name": "x", "stream_key": f"{secret} with a space"}),
            ("/channels/path/destinations", {"name": "x", "url": f"gopher://u:{secret}@h/"}),
            ("/channels/path/destinations", {"name": "x", "platform": "youtube", "key": f"{secret}\n"}),
            ("/channels/by-user", {"source": {"url": f"https://u:{secret}@h/", "headers": {"Authorization": secret}}}),
            ("/webhooks", {"url": f"ftp://{secret}@h/x", "secret": f" {secret}"}),
            ("/users", {"name": "x", "role": secret, "password": secret}),
        ):
            method = "PATCH" if path.endswith("by-user") else "POST"
            try:
                await self.relay.api(method, path, body)
            except ApiError as error:
                self.canaries.look("API answers", error.body)
            else:
                raise AssertionError(f"{path} took what it must not")

    async def _break_a_request(self, password: str) -> None:
        """The file of users is a directory: nobody expected that, and the log has a traceback."""
        file = self.relay.data / "users.json"
        aside = file.with_name("users.aside")
        file.rename(aside)
        file.mkdir()
        body = {"name": "bob", "role": "viewer", "password": password}
        try:
            await self.relay.api("POST", "/users", body)
        except ApiError as error:
            self.canaries.look("API answers", error.body)
            self.used["a request that broke"] = error.status == 500
        file.rmdir()
        aside.rename(file)
        file.with_name("users.json.tmp").unlink(missing_ok=True)

    async def _leak(self) -> None:
        """The bug of tests.support.leaky: whatever the relay has, it tells its log."""
        try:
            await self.relay.api("GET", "/channels/path/destinations/leak")
        except ApiError as error:
            self.canaries.look("API answers", error.body)
            self.used["a request that leaked"] = error.status == 500

    # --- searching ------------------------------------------------------------------------------------------------

    async def visit(self) -> None:
        """Every page and every answer of the API, as nobody, as a viewer, with a link, and as the admin."""
        relay = self.relay
        share = await relay.api("POST", "/channels/path/shares", {"days": 1})
        token = self.canaries.add("share token", share["url"].rpartition("/")[2])
        link = await relay.api("POST", "/channels/path/link", {"hours": 1})
        signature = self.canaries.add("signature of a link", link["watch_url"].rpartition("signature=")[2])
        recording = (await relay.recording("path", within=60))["id"]
        document = await relay.fetch("/api/v1/openapi.json")
        self.canaries.look("API answers", document)
        paths = await self._paths(recording)
        async with self._browser() as nobody, self._browser() as viewer, self._browser() as admin:
            await self._read(nobody, [*PAGES, *paths], "as nobody")
            await self._read(nobody, [f"/s/{token}"], "a streamer's page", ("stream key, in a path", "share token"))
            query = "?" + link["watch_url"].partition("?")[2]
            await self._read(nobody, [f"/watch/path{query}", f"/live/path/index.m3u8{query}"], "with a link",
                             ("signature of a link",))  # fmt: skip
            await self._sign_in(viewer, "eva", self.canaries.texts["password of a viewer"])
            await self._read(viewer, [*PAGES, *paths], "as a viewer")
            await self._sign_in(admin, "", relay.token)
            await self._read(admin, list(PAGES), "pages as the admin")
            await self._read(admin, paths, "API as the admin", CHANNEL_KEYS)
            for browser in (viewer, admin):
                for cookie in browser.cookie_jar:
                    self.canaries.add(f"session {len(self.canaries.texts)}", cookie.value)
            await self._read(viewer, ["/log", "/audit"], "as a viewer")
        assert signature
        changed = await relay.api("POST", "/token/rotate")
        self.canaries.add("new admin token", changed["token"])

    @staticmethod
    @contextlib.asynccontextmanager
    async def _browser() -> AsyncIterator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            yield session

    async def _sign_in(self, browser: aiohttp.ClientSession, name: str, secret: str) -> None:
        form = {"name": name, "token": secret}
        async with browser.post(f"{self.base}/sign-in", data=form, allow_redirects=False) as answer:
            assert answer.status == 303, f"{name or 'the admin'} was not let in: {answer.status}"

    async def _paths(self, recording: str) -> list[str]:
        """Every GET of the API, filled in."""
        document = await self.relay.api("GET", "/openapi.json")
        filled = []
        for path, operations in document["paths"].items():
            if "get" in operations:
                ids = {"{id}": recording, "{name}": "path", "{destination}": "good", "{recording}": recording}
                for name, value in ids.items():
                    path = path.replace(name, value)
                filled.append(path.replace("{file}", "manifest.json").replace("{", "").replace("}", ""))
        return filled

    async def _read(
        self, browser: aiohttp.ClientSession, paths: list[str], place: str, but: tuple[str, ...] = ()
    ) -> None:
        for path in paths:
            allowed = (*but, "signature of a link")
            async with browser.get(self.base + path, allow_redirects=False) as answer:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.5):  # events go on for ever: their first is all there is
                        self.canaries.look(place, await answer.content.read(4 << 20), allowed)
                self.canaries.look(place, repr(dict(answer.headers)), allowed)

    async def close(self) -> None:
        """Stop the relay, and search what it leaves."""
        relay, canaries = self.relay, self.canaries
        metrics = await relay.fetch("/metrics")
        self.family.look()
        process = relay.process
        assert process is not None
        own = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.popen.send_signal(signal.SIGTERM)
        assert await process.wait(20) == 0, process.tail()
        canaries.look("metrics", metrics)
        canaries.look("log", relay.log)
        for place, found in (("command lines", self.family.command_lines), ("environments", self.family.environments)):
            canaries.look(f"{place} of children", b"\0\0".join(found.values()))
        canaries.look("command line of the relay", own)
        for path in sorted(relay.data.rglob("*")):
            if path.is_file() and path.name not in OWN_FILES:
                is_database = path.name.startswith("relay.db")
                canaries.look("database" if is_database else "other files of the data directory", path.read_bytes())
        self.used |= {
            "destinations saw their keys": self._has_arrived(),
            "a destination refused, and repeated the key": bool(self.tactless.connections),
            "a source was shown user and password": _was_shown(self.origin, "/user/", "Basic "),
            "a source was shown a header": _was_shown(self.origin, "/header/", self.bearer),
            "a webhook was told": bool(self.hook.told),
            "children were seen": len(self.family.environments) >= 1,  # they come and go
            "leaks were covered up, line by line": relay.log.count("leaked: ********") >= 5,
        }  # fmt: skip

    def rows(self) -> list[Row]:
        """What was found, place by place; and that there was something to find."""
        canaries = self.canaries
        missing = [what for what, was in self.used.items() if not was]
        found = [Row(f"secrets used ({len(self.used)} ways)", ", ".join(missing) or "all", "all", not missing)]
        for place, size in sorted(canaries.looked.items()):
            names = sorted(canaries.hits.get(place, ()))
            what = f"{len(canaries.texts)} secrets in: {place} ({size / 1024:.0f} KiB)"
            found.append(Row(what, ", ".join(names) or "0", "0", not names))
        return found


def _was_shown(place: Origin, path: str, words: str) -> bool:
    return any(
        item.path.startswith(path) and item.headers.get("Authorization", "").startswith(words) for item in place.asked
    )
