"""Pulse: what changes while a page of the console is open, sent as server-sent events, only what is new each time."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from relay.archive.archive import Archive
from relay.control import Control
from relay.control.history import History
from relay.control.users import Role
from relay.errors import NotFoundError
from relay.secret import censored
from relay.web.events import Event, EventLog
from relay.web.glance import channel_detail, channel_glance
from relay.web.routes import CALLER, Caller, Route

EVERY_S = 1.0
QUIET_S = 15.0  # something is said at least this often, so that a page knows the relay is there
EVENTS = 200  # that a page begins with
LISTENERS = 200
STALL_S = 20.0
RETRY_MS = 1000  # after which a page that lost us asks again


class Pulse:
    """``GET /api/v1/pulse``: every channel in short, or with ``?channel=`` one in detail and its events.

    ``visitor`` says whether a listener still may.
    """

    def __init__(
        self,
        control: Control,
        archive: Archive | None,
        history: History,
        events: EventLog,
        visitor: Callable[[web.Request], Caller | None],
    ) -> None:
        self._control = control
        self._archive = archive
        self._history = history
        self._events = events
        self._visitor = visitor
        self._listeners = 0
        self._looked = 0.0
        self._all: dict[str, dict[str, Any]] = {}

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/api/v1/pulse",
                handler=self.pulse,
                role=Role.VIEWER,
                summary="Server-sent events: what changes about every channel, or in detail about one, and its log",
                content_type="text/event-stream",
                query=("channel", "log", "after"),
            ),
            Route(
                method="GET",
                path="/api/v1/channels/{name}/history",
                handler=self.history,
                role=Role.VIEWER,
                summary="Bitrate, frame rate and lag of the last ten minutes, every two seconds",
            ),
            Route(
                method="GET",
                path="/api/v1/events",
                handler=self.events,
                role=Role.VIEWER,
                summary="What the relay said lately, of one channel or of everything",
                query=("channel", "after"),
            ),
        ]

    # --- what there is --------------------------------------------------------------------------------------------

    def glances(self, *, fresh: bool = False) -> dict[str, dict[str, Any]]:
        """Every channel in short; unless ``fresh``, made at most once a second, however many look."""
        if fresh or time.monotonic() - self._looked >= EVERY_S * 0.9:
            self._looked = time.monotonic()
            self._all = {
                view.name: channel_glance(view, self._archive, self._history.last(view.name))
                for view in self._control.channels()
            }
        return self._all

    def detail(self, name: str) -> dict[str, Any]:
        """One channel. Raises NotFoundError."""
        return channel_detail(self._control.channel(name), self._archive, self._history.last(name))

    def log(self, channel: str | None, after: int = 0, most: int = EVENTS) -> list[dict[str, Any]]:
        """Events as pages show them: whatever key they might name is covered up."""
        found = self._events.since(after, channel, most)
        return self._shown(found) if found else []

    def _shown(self, found: list[Event]) -> list[dict[str, Any]]:
        views = self._control.channels()
        keys = [key for view in views for key in (view.stream_key, view.read_key)]
        return [event.shown(lambda text: censored(text, keys)) for event in found]

    # --- handlers -------------------------------------------------------------------------------------------------

    async def history(self, request: web.Request) -> web.Response:
        name = self._control.channel(request.match_info["name"]).name
        samples = [list(sample) for sample in self._history.samples(name)]
        return _json({"samples": samples, "fields": ["at", "kbps", "fps", "lag_s"]})

    async def events(self, request: web.Request) -> web.Response:
        return _json({"events": self.log(self._channel(request), _number(request.query.get("after", "")))})

    async def pulse(self, request: web.Request) -> web.StreamResponse:
        channel = self._channel(request)
        if self._listeners >= LISTENERS:
            return _json({"error": {"code": "busy", "message": "too many pages listen already; close some"}}, 503)
        after = _number(request.headers.get("Last-Event-ID", "") or request.query.get("after", ""))
        wants_log = request.query.get("log") == "1"
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx would keep it to itself
            }
        )
        await response.prepare(request)
        self._listeners += 1
        try:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._tell(request, response, channel, after, wants_log)
        finally:
            self._listeners -= 1
        return response

    async def _tell(
        self, request: web.Request, response: web.StreamResponse, channel: str | None, after: int, wants_log: bool
    ) -> None:
        told: dict[str, Any] = {}
        quiet_since = time.monotonic()
        await self._write(response, f"retry: {RETRY_MS}\n\n")
        caller = request[CALLER]
        has_session = self._visitor(request) is not None
        while True:
            text = ""
            try:
                now = self.glances() if channel is None else self.detail(channel)
            except NotFoundError:
                await self._write(response, "event: gone\ndata: {}\n\n")
                return
            changed = difference(told, now)
            if changed:
                text += f"event: state\ndata: {_dumps(changed)}\n\n"
                told = now
            if wants_log:
                for event in self.log(channel, after):
                    after = event["number"]
                    text += f"id: {after}\nevent: log\ndata: {_dumps(event)}\n\n"
            if not text and time.monotonic() - quiet_since > QUIET_S:
                text = ": still here\n\n"
            if text:
                quiet_since = time.monotonic()
                await self._write(response, text)
            await asyncio.sleep(EVERY_S)
            if request.transport is None:
                return  # nobody is there any more
            if has_session and self._visitor(request) != caller:
                return  # signed out, removed, or something else than before: the page asks again

    @staticmethod
    async def _write(response: web.StreamResponse, text: str) -> None:
        async with asyncio.timeout(STALL_S):
            await response.write(text.encode())

    def _channel(self, request: web.Request) -> str | None:
        """The channel asked for. Raises NotFoundError."""
        name = request.query.get("channel")
        return None if name is None else self._control.channel(name).name


def difference(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What is to be laid over ``before`` to get ``now``: nested, None for what is gone."""
    found: dict[str, Any] = {name: None for name in before if name not in now}
    for name, value in now.items():
        old = before.get(name)
        if name in before and old == value:
            continue
        found[name] = difference(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return found


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(
        text=_dumps(value), status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )
