"""Hooks: every webhook there is; events given to it once go to all that want them."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterable, Mapping

import aiohttp

from relay.config import Settings
from relay.errors import DestinationError
from relay.hooks.event import Event, signature
from relay.hooks.sender import Hook, HookStats, Sender
from relay.outbound.dial import client_tls
from relay.outbound.http import explain, http_session, http_url
from relay.secret import new_key

ATTEMPT_S = 10.0
FAREWELL_S = 1.0
CONNECTIONS = 100  # as many as there may be webhooks: a slow one keeps none from another


class Hooks:
    """Used on the event loop only. Nothing here waits but ``test`` and ``close``."""

    def __init__(self, settings: Settings, attempt_s: float = ATTEMPT_S) -> None:
        self._settings = settings
        self._attempt_s = attempt_s
        self._senders: dict[str, Sender] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._session: asyncio.Task[aiohttp.ClientSession] | None = None

    def __bool__(self) -> bool:
        """Whether anybody wants to be told anything."""
        return bool(self._senders)

    def configure(self, hooks: Iterable[Hook]) -> None:
        """Make these all there are. Those that did not change go on with what waits."""
        before, self._senders = self._senders, {}
        for hook in hooks:
            known = before.get(hook.id)
            if known is not None and known.hook == hook:
                self._senders[hook.id] = before.pop(hook.id)
            else:
                self._senders[hook.id] = Sender(hook, self.post)
        for sender in before.values():
            task = asyncio.get_running_loop().create_task(sender.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def tell(self, name: str, channel: str | None = None, **data: object) -> None:
        """Something has happened: to be told to all who want it, in this order."""
        if not self._senders:
            return
        event = new_event(name, channel, data)
        for sender in self._senders.values():
            if sender.hook.wants(event):
                sender.put(event)

    def stats(self) -> Mapping[str, tuple[HookStats, int]]:
        """(counters, events waiting) of each webhook, by id."""
        return {id_: (sender.stats, sender.waiting) for id_, sender in self._senders.items()}

    async def test(self, hook: Hook) -> None:
        """One ping now, ahead of what waits. Raises DestinationError in words that say what to do."""
        await self.post(hook, new_event("ping", hook.channel, {}))

    async def post(self, hook: Hook, event: Event) -> None:
        """One attempt. Raises DestinationError."""
        url = http_url(hook.url.reveal())
        body, now = event.body(), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "Relay-Event": event.name,
            "Relay-Delivery": event.id,
            "Relay-Signature": signature(hook.secret, now, body),
        }
        where = f"{url.host}:{url.port}"
        if self._session is None:
            self._session = asyncio.get_running_loop().create_task(self._open())
        try:
            session = await asyncio.shield(self._session)
        except DestinationError:
            self._session = None  # the file of authorities is no use; it may be mended
            raise
        try:
            async with (
                asyncio.timeout(self._attempt_s),
                session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                status = response.status
        except (aiohttp.ClientError, OSError, DestinationError) as error:
            raise explain(error, where) from error
        if 300 <= status < 400:
            raise DestinationError(f"{where} sends us elsewhere ({status}), which is not followed: give that address")
        if not 200 <= status < 300:
            raise DestinationError(f"{where} answered {status}")

    async def _open(self) -> aiohttp.ClientSession:
        tls: ssl.SSLContext = await asyncio.to_thread(client_tls, self._settings)
        return http_session(self._settings, tls, connections=CONNECTIONS)

    async def close(self) -> None:
        """A moment for what waits, then stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await asyncio.gather(*(sender.told() for sender in self._senders.values()))
        self.configure(())
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._session is not None:
            await (await self._session).close()


def new_event(name: str, channel: str | None, data: dict[str, object]) -> Event:
    """An event of now, with an id of its own: what is told again after a failure is known by it."""
    return Event(id=new_key(80).reveal(), name=name, at=time.time(), channel=channel, data=data)
