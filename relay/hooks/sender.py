"""Sender: one webhook's events, one after the other, each until it is taken or has become too old."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from relay.errors import DestinationError
from relay.hooks.event import Event
from relay.redaction import known
from relay.secret import Secret
from relay.supervise import Backoff

log = structlog.get_logger("relay.hooks")

MOST = 1000  # waiting
GIVE_UP_S = 3600.0
BACKOFF = Backoff(first_s=2.0, most_s=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Where events go. ``channel`` None: those of every channel; no ``events``: every event."""

    id: str
    url: Secret
    secret: Secret
    channel: str | None = None
    events: frozenset[str] = frozenset()

    def wants(self, event: Event) -> bool:
        return (not self.events or event.name in self.events) and self.channel in (None, event.channel)


@dataclass(slots=True)
class HookStats:
    """How a webhook is doing. ``last_error``: why the last attempt failed; empty once one was taken."""

    delivered: int = 0
    failures: int = 0  # attempts that failed
    dropped: int = 0  # events: the queue was full, or they became too old
    last_error: str = ""


Post = Callable[[Hook, Event], Awaitable[None]]


class Sender:
    """``post`` is one attempt: it raises DestinationError where the event was not taken."""

    def __init__(
        self,
        hook: Hook,
        post: Post,
        *,
        backoff: Backoff = BACKOFF,
        give_up_s: float = GIVE_UP_S,
        most: int = MOST,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.hook = hook
        self.stats = HookStats()
        self._post = post
        self._backoff = backoff
        self._give_up_s = give_up_s
        self._most = most
        self._clock = clock
        self._waiting: deque[Event] = deque()
        self._is_busy = False
        self._news, self._idle = asyncio.Event(), asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def waiting(self) -> int:
        """Events not taken yet, the one being sent included."""
        return len(self._waiting) + self._is_busy

    def put(self, event: Event) -> None:
        """Tell ``event`` as soon as those before it are told. Never waits; the oldest goes where there are too many."""
        if len(self._waiting) >= self._most:
            self._drop(self._waiting.popleft(), "too many events wait")
        self._waiting.append(event)
        self._idle.clear()
        self._news.set()

    async def told(self) -> None:
        """Return once nothing waits any more."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stop; what waits is not told."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            while self._waiting:
                event = self._waiting.popleft()
                self._is_busy = True
                try:
                    await self._deliver(event)
                finally:
                    self._is_busy = False
            self._news.clear()
            self._idle.set()
            await self._news.wait()

    async def _deliver(self, event: Event) -> None:
        failures = 0
        while True:
            try:
                await self._post(self.hook, event)
            except DestinationError as error:
                words = known.censor(str(error))
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the webhook
                # Only the type: the text may hold the address, and that may be a secret.
                words = f"an internal error ({type(error).__name__})"
            else:
                self.stats.delivered += 1
                self.stats.last_error = ""
                return
            failures += 1
            self.stats.failures += 1
            self.stats.last_error = words
            wait_s = self._backoff.wait_s(failures, rejected=False, uniform=random.uniform)
            if self._clock() + wait_s - event.at > self._give_up_s:
                self._drop(event, words)
                return
            if failures == 1:
                log.warning("webhook failed, trying again", webhook=self.hook.id, told=event.name, reason=words)
            await asyncio.sleep(wait_s)

    def _drop(self, event: Event, why: str) -> None:
        self.stats.dropped += 1
        log.error("an event is not told", webhook=self.hook.id, told=event.name, id=event.id, reason=why)
