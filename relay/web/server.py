"""WebServer: listens for HTTP, lets in who may, and turns errors into answers that say what to do."""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import structlog
from aiohttp import web

from relay.archive.archive import Archive
from relay.audit import AuditLog
from relay.budget import ConnectionBudget
from relay.certificates import Certificate
from relay.config import Settings, split_address
from relay.control import Control
from relay.control.history import History
from relay.control.token import AdminToken
from relay.control.users import Role, Users
from relay.errors import ConfigError, ConflictError, InvalidError, NotFoundError, RelayError, SlateError, StoreError
from relay.listen import Listener, Quiet, listen
from relay.redaction import known
from relay.secret import Secret
from relay.web.api import Api
from relay.web.api_secrets import SecretApi
from relay.web.api_users import UserApi
from relay.web.audit import WebAudit
from relay.web.console import Console
from relay.web.cors import Cors
from relay.web.events import EventLog
from relay.web.export import Downloads
from relay.web.hls.access import Access
from relay.web.hls.handlers import LivePlayback
from relay.web.hls.live import LiveChannels
from relay.web.playback import Links, Playback
from relay.web.player import Player
from relay.web.ready import SECURITY
from relay.web.routes import CALLER, DEADLINE_S, Caller, Handler, Route, openapi
from relay.web.sessions import Sessions
from relay.web.shares import ShareApi
from relay.web.slates import SlateApi
from relay.web.streamer import StreamerPages
from relay.web.webhooks import WebhookApi

log = structlog.get_logger("relay.web")

STATIC = Path(__file__).parent / "static"
_STATUS: dict[type[RelayError], tuple[int, str]] = {
    NotFoundError: (404, "not_found"),
    ConflictError: (409, "conflict"),
    InvalidError: (422, "invalid"),
    SlateError: (422, "invalid"),
    StoreError: (502, "store"),
}
_WORDS = {
    404: "there is nothing here",
    405: "this address does not take that method",
    408: "the request came too slowly",
    413: "the request is too long",
    415: "send the request uncompressed",
    416: "the file ends before that",
    429: "too many wrong links from your network; wait a minute",
    503: "too many pages of this link are open",
}


class WebServer:
    """One aiohttp application. ``metrics`` renders the exposition, ``problems`` says why the relay is not ready,
    ``reencrypt`` changes the key of what is stored, ``share_base`` tells what links to streamers' pages begin with, and
    whether only this machine can open them."""

    def __init__(
        self,
        settings: Settings,
        control: Control,
        archive: Archive | None,
        live: LiveChannels,
        events: EventLog,
        history: History,
        *,
        token: AdminToken,
        audit: AuditLog,
        reencrypt: Callable[[], Awaitable[int]],
        sign: Callable[[str], str],
        metrics: Callable[[], tuple[bytes, str]],
        problems: Callable[[], list[str]],
        share_base: Callable[[], tuple[str, bool]],
        budget: ConnectionBudget,
    ) -> None:
        self._settings = settings
        self._token = token
        self._metrics = metrics
        self._problems = problems
        self._links = Links(sign)
        self.users = Users(settings.data_dir)
        self._audit = WebAudit(audit, behind_proxy=settings.http.behind_proxy)
        self._sessions = Sessions(
            self.users,
            token,
            self._audit,
            secure=settings.http.behind_proxy or settings.http.tls_certificate is not None,
            behind_proxy=settings.http.behind_proxy,
        )
        self._console = Console(control, archive, self._sessions, events, history, self._audit)
        playback = Playback(control, archive, self._links)
        self._access = Access(control, self._links)
        self._cors = Cors(settings.http.cors_origins)
        player = Player(control, self._access, self._console)
        self.certificate: Certificate | None = None
        self._runner: web.AppRunner | None = None
        self._budget = budget
        self._listeners: list[Listener] = []
        self.port = 0  # in use: what was asked for, or what the system chose for port 0
        self.share_port: int | None = None  # of http.share_listen, where that is set
        self._strangers: list[web.RequestHandler] = []  # of the share listener, open or about to be
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        self.routes = [
            *Api(control).routes(),
            *ShareApi(control, share_base).routes(),
            *WebhookApi(control).routes(),
            *SlateApi(control, settings.data_dir / "slates").routes(),
            *Downloads(archive).routes(),
            *self._console.routes(),
            *playback.routes(),
            *LivePlayback(live, self._access, playback.newest, vary_by_origin=bool(self._cors)).routes(),
            *player.routes(),
            *UserApi(self.users).routes(),
            *SecretApi(token, reencrypt, self._access.forget).routes(),
            *self._audit.routes(),
            Route(
                method="GET",
                path="/metrics",
                handler=self.metrics,
                role=Role.VIEWER,
                summary="Prometheus metrics",
                public=_is_loopback(split_address(settings.http.listen)[0]),
                content_type="text/plain",
            ),
            Route(method="GET", path="/healthz", handler=self.healthz, summary="Is the process alive", public=True),
            Route(method="GET", path="/readyz", handler=self.readyz, summary="Does everything work", public=True),
            Route(
                method="GET", path="/api/v1/openapi.json", handler=self.openapi, summary="This document", public=True
            ),
        ]
        self._document = openapi(self.routes)
        self.app = web.Application(
            middlewares=[self._guard],
            client_max_size=settings.limits.http_body_bytes,
            logger=Quiet(),  # type: ignore[arg-type]
        )
        self.app.on_response_prepare.append(self._secure)
        self.app[DEADLINE_S] = settings.limits.http_deadline_s
        for route in self.routes:
            handler = route.handler if route.public else self._closed(route)
            for method in (route.method, "HEAD") if route.has_head else (route.method,):
                self.app.router.add_route(method, route.path, handler)
        self._sessions.register(self.app)
        self._console.register(self.app)
        StreamerPages(
            control,
            failures_per_minute=settings.limits.auth_failures_per_minute,
            behind_proxy=settings.http.behind_proxy,
        ).register(self.app)
        player.register(self.app)
        self._cors.register(self.app)
        self._static = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.is_file()}
        self.app.router.add_get("/static/{name:.+}", self.static)

    async def start(self) -> None:
        """Listen. Raises ConfigError when the address is taken."""
        http = self._settings.http
        host, _ = split_address(http.listen)
        if http.tls_certificate is None and not http.behind_proxy and not _is_loopback(host):
            raise ConfigError(
                f"http.listen {http.listen} can be reached from outside, in the clear; give http.tls_certificate and "
                "http.tls_key, or set http.behind_proxy if a proxy in front does TLS, or listen on 127.0.0.1"
            )
        if http.tls_certificate is not None:
            self.certificate = Certificate("https", http.tls_certificate, http.tls_key, "http")
        tls = None if self.certificate is None else self.certificate.context
        self._runner = web.AppRunner(
            self.app,
            access_log=None,
            logger=Quiet(),
            handle_signals=False,
            keepalive_timeout=30,
            shutdown_timeout=1.0,
            lingering_time=1.0,
            auto_decompress=False,
        )
        await self._runner.setup()
        self._console.start()
        self.port = await self._listen("listen", http.listen, self._connect, tls)
        if http.share_listen:
            self.share_port = await self._listen("share_listen", http.share_listen, self._connect_shared, tls)
            if self.share_port == self.port:
                raise ConfigError("http.share_listen must have another port than http.listen, on whatever address")

    async def _listen(
        self, setting: str, address: str, connect: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None
    ) -> int:
        """The port. Raises ConfigError naming the ``setting`` of section http."""
        listener = await listen(
            lambda _: connect(),
            address,
            tls,
            what="HTTP",
            setting=f"http.{setting}",
            handshake_s=self._settings.limits.http_deadline_s,
            budget=self._budget,
            counted=False,
        )
        self._listeners.append(listener)
        return listener.port

    def _connect_shared(self) -> asyncio.BaseProtocol:
        """A stranger's connection, if there are not too many of these already."""
        self._strangers = [other for other in self._strangers if other.transport is not None or other in self._silent]
        if len(self._strangers) >= self._settings.limits.connections:
            return _Refusal()
        handler = self._connect()
        self._strangers.append(handler)
        return handler

    def _connect(self) -> web.RequestHandler:
        """A connection's protocol; closed when its first request does not come in time."""
        assert self._runner is not None
        assert self._runner.server is not None
        handler = self._runner.server()
        loop = asyncio.get_running_loop()
        self._silent[handler] = loop.call_later(self._settings.limits.http_deadline_s, self._close_silent, handler)
        return handler

    def _close_silent(self, handler: web.RequestHandler) -> None:
        del self._silent[handler]
        self._budget.hits["http_headers"] += 1
        handler.force_close()

    def _heard(self, request: web.Request) -> None:
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()

    def _is_shared(self, request: web.Request) -> bool:
        """Whether the request came to where strangers come: they see streamers' pages and nothing else."""
        port, transport = self.share_port, request.transport
        return port is not None and (transport is None or transport.get_extra_info("sockname")[1] == port)

    async def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()
        self._console.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # --- guards -----------------------------------------------------------------------------------------------

    def _closed(self, route: Route) -> Handler:
        """The route's handler behind the token, a console session, or a signed link, and for those who may."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            caller = self._caller(request)
            if caller is None:
                if "Authorization" in request.headers:
                    await self._audit.refused(request, "", "wrong token")
                words = "send the admin token (file admin.token in the data directory) as `Authorization: Bearer TOKEN`"
                if request.path.startswith("/live/"):
                    words = "add ?key=READ_KEY; `relay channel show` and the console give the whole address; "
                    words += "`relay channel link` makes one that expires, `relay channel viewers` says who may watch"
                return _error(401, "unauthorized", words, {"WWW-Authenticate": "Bearer"})
            if caller.role < route.role:
                await self._audit.forbidden(request, caller, route)
                words = f"that takes the role {route.role.word}; you are signed in as {caller.role.word}"
                return _error(403, "forbidden", words)
            request[CALLER] = caller
            if not route.audit:
                return await route.handler(request)
            try:
                response = await route.handler(request)
            except (RelayError, web.HTTPException):
                raise  # nothing was changed
            except Exception:
                await self._audit.changed(request, caller, route, failed=True)
                raise
            await self._audit.changed(request, caller, route)
            return response

        return guarded

    def _caller(self, request: web.Request) -> Caller | None:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._token.opens(Secret(shown.strip())):
            return Caller("", Role.ADMIN)
        if self._links.allows(request) or self._access.allows(request):
            return Caller("", Role.VIEWER)
        return self._sessions.caller(request)

    async def _secure(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(SECURITY)
        response.headers.update(self._cors.headers(request))

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self._heard(request)
        try:
            if self._is_shared(request) and not request.path.startswith("/s/"):
                raise web.HTTPNotFound
            response = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            if error.status in (408, 413):
                self._budget.hits["http_body"] += 1
            kept = {name: error.headers[name] for name in ("Allow", "Content-Range") if name in error.headers}
            response = _error(error.status, "http", _WORDS.get(error.status, error.reason), kept)
        except (ConnectionError, web.RequestPayloadError):
            response = _error(400, "http", "the request broke off")  # most likely nobody is there to read it
        except RelayError as error:
            status, code = _STATUS.get(type(error), (500, "error"))
            response = _error(status, code, known.censor(str(error)))
        except Exception:
            log.exception("request failed", method=request.method, path=_pattern(request))
            response = _error(500, "internal", "the relay failed to answer; its log says why")
        return response

    # --- public handlers --------------------------------------------------------------------------------------

    async def static(self, request: web.Request) -> web.StreamResponse:
        path = self._static.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path)

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "alive", "time": round(time.time(), 3)})

    async def readyz(self, request: web.Request) -> web.Response:
        problems = self._problems()
        return web.json_response({"ready": not problems, "problems": problems}, status=503 if problems else 200)

    async def openapi(self, request: web.Request) -> web.Response:
        return web.json_response(self._document)


def _pattern(request: web.Request) -> str:
    """The request's path as its route has it: without what may be a key."""
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"error": {"code": code, "message": message}}
    return web.Response(text=json.dumps(body), status=status, content_type="application/json", headers=headers)


class _Refusal(asyncio.Protocol):
    """A connection that ends as it begins."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
