"""Planted: a relay with secrets of every kind in it, and everybody it deals with, who know them, too."""

import asyncio
import contextlib

from tests.hooks.receiver import Receiver
from tests.support import clips, hls
from tests.support.canaries import Canaries, Descendants
from tests.support.hls_ingest import HlsIngest
from tests.support.origin import origin
from tests.support.process import free_port
from tests.support.relay import Relay
from tests.support.s3 import S3Server
from tests.support.sink import Behaviour, Sink

CLIP = clips.Clip("canary", clips.H264_B.video, clips.H264_B.audio, seconds=8, width=320, height=180)
CHANNEL_KEYS = ("stream key, in a path", "stream key, in a query", "stream key, of uploads", "read key")


class Planted:
    """The relay, everybody it deals with, and what they know of each other."""

    def __init__(self, relay: Relay, s3: S3Server, canaries: Canaries) -> None:
        self.relay = relay
        self.s3 = s3
        self.canaries = canaries
        self.family = Descendants(relay.pid)
        self.used: dict[str, bool] = {}
        self.base = f"http://127.0.0.1:{relay.http_port}"
        canaries.add("admin token", relay.token)
        for name in ("secret.key", "evidence.key"):
            lines = (relay.data / name).read_text("ascii").split("\n")
            canaries.add(name, next(line for line in lines if len(line) > 40 and "---" not in line))

    async def furnish(self, stack: contextlib.AsyncExitStack) -> None:
        """Channels, destinations, sources, webhooks and users, each with secrets of its own."""
        relay, new = self.relay, self.canaries.new
        self.clip = await asyncio.to_thread(clips.make, CLIP)
        self.segments = await asyncio.to_thread(hls.make, self.clip, "ts", relay.data.parent / "ts")
        path, query, uploads = (new(name) for name in CHANNEL_KEYS[:3])
        made = await relay.add_channel("path", stream_key=path)
        self.canaries.add("read key", made["read_key"])
        await relay.add_channel("query", stream_key=query)
        await relay.add_channel("uploads", stream_key=uploads)
        await self._destinations(stack)
        await self._sources(stack)
        self.hook = await stack.enter_async_context(Receiver(new("webhook secret")))
        token = new("token in a webhook's path")
        for port in (self.hook.port, free_port()):
            body = {"url": f"http://127.0.0.1:{port}/hook/{token}?token={new('token in a webhook query')}"}
            await relay.api("POST", "/webhooks", {**body, "secret": self.hook.secret})
        password = new("password of a viewer")
        await relay.api("POST", "/users", {"name": "eva", "role": "viewer", "password": password})

    async def _destinations(self, stack: contextlib.AsyncExitStack) -> None:
        relay, new = self.relay, self.canaries.new
        self.sink = await stack.enter_async_context(Sink())
        refusing = Behaviour(refuse=lambda app, name: f"no such key {name} in {app}, said somebody tactless")
        self.tactless = await stack.enter_async_context(Sink(refusing))
        self.uploads = await stack.enter_async_context(HlsIngest(new("key of an HLS destination")))
        add = relay.add_destination
        await add("path", "good", f"{self.sink.url}?token={new('token in a destination URL')}", new("destination key"))
        await add("path", "fitted", self.sink.url, new("key of a fitted destination"), fit={"height": 90})
        await add("path", "whole", f"{self.sink.url}/{new('key at the end of a destination URL')}")
        await add("path", "tactless", self.tactless.url, new("key of a destination that repeats it"))
        await add("path", "dead", f"rtmp://127.0.0.1:{free_port()}/app", new("key of a dead destination"))
        await add("path", "hls", self.uploads.url, self.uploads.key)
        url = f"http://127.0.0.1:{free_port()}/up/{{key}}?auth={new('token of a dead HLS destination')}"
        second = f"http://127.0.0.1:{free_port()}/up/{{key}}?auth={new('token of a dead backup')}"
        await add("path", "dead-hls", url, new("key of a dead HLS destination"), backup=second)

    async def _sources(self, stack: contextlib.AsyncExitStack) -> None:
        """One origin that wants user and password, one that wants a header, and one nobody answers at."""
        new = self.canaries.new
        self.origin = await stack.enter_async_context(origin())
        user, token = f"anna:{new('password of a source')}", new("token of a source")
        self.bearer = f"Bearer {new('header of a source')}"
        for name, data in self.segments.items():
            for folder in ("user", "header"):
                self.origin.files[f"/{folder}/{name}"] = data
        address = f"127.0.0.1:{self.origin.port}"
        await self._pull("by-user", f"http://{user}@{address}/user/index.m3u8?token={token}")
        await self._pull("by-header", f"http://{address}/header/index.m3u8", {"Authorization": self.bearer})
        dead = f"{new('user of a dead source')}:{new('password of a dead source')}@127.0.0.1:{free_port()}"
        await self._pull("dead", f"http://{dead}/x.m3u8")
        await self._pull("dead-rtmp", f"rtmp://127.0.0.1:{free_port()}/app/{new('name of a dead RTMP source')}?key=x")

    async def _pull(self, channel: str, url: str, headers: dict[str, str] | None = None) -> None:
        await self.relay.add_channel(channel, source={"url": url, "headers": headers or {}})
