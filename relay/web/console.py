"""The console: sign in with the admin token, see every channel at a glance, watch and find recordings."""

import secrets
import time

import jinja2
from aiohttp import web

from relay.control import Control
from relay.egress.platforms import PLATFORMS
from relay.secret import Secret
from relay.web.routes import receive

COOKIE = "relay_session"
SESSION_S = 12 * 3600
FAILURES, WINDOW_S = 10, 60.0
RECORDINGS = 50
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("relay.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


class Console:
    """Pages for the operator. Sessions live in memory; a restart asks for the token again."""

    def __init__(self, control: Control, token: Secret, *, secure: bool) -> None:
        self._control = control
        self._token = token
        self._secure = secure
        self._sessions: dict[str, float] = {}
        self._failures: dict[str, list[float]] = {}  # times of wrong tokens by address

    def register(self, app: web.Application) -> None:
        app.router.add_get("/", self.home)
        app.router.add_get("/sign-in", self.sign_in_page)
        app.router.add_post("/sign-in", self.sign_in)
        app.router.add_post("/sign-out", self.sign_out)

    def allows(self, request: web.Request) -> bool:
        """Whether the request belongs to a session; changes must also come from our own pages (RFC 6265bis, CSRF)."""
        expires = self._sessions.get(request.cookies.get(COOKIE, ""), 0.0)
        if expires < time.monotonic():
            return False
        return request.method in ("GET", "HEAD") or request.headers.get("Sec-Fetch-Site") == "same-origin"

    async def home(self, request: web.Request) -> web.Response:
        if not self.allows(request):
            return _see("/sign-in")
        recordings = await self._control.recordings.list(limit=RECORDINGS)
        return page(
            "home.html",
            channels=self._control.channels(),
            recordings=recordings,
            platforms=list(PLATFORMS.values()),
        )

    async def watch(self, request: web.Request) -> web.Response:
        """The page of the recording that the request names (Player registers it)."""
        if not self.allows(request):
            return _see("/sign-in")
        recording = await self._control.recordings.get(request.match_info["name"])
        gaps = (await self._control.recordings.gaps(recording.id)).gaps
        return page("watch.html", recording=recording, gaps=gaps)

    async def sign_in_page(self, request: web.Request) -> web.Response:
        return page("sign_in.html", error="")

    async def sign_in(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        recent = ((address, [at for at in times if now - at < WINDOW_S]) for address, times in self._failures.items())
        self._failures = {address: times for address, times in recent if times}
        address = request.remote or ""
        if len(self._failures.get(address, ())) >= FAILURES:
            return page("sign_in.html", status=429, error="Too many wrong tokens. Wait a minute, then try again.")
        await receive(request)
        form = await request.post()
        if Secret(str(form.get("token", "")).strip()) != self._token:
            self._failures.setdefault(address, []).append(now)
            wrong = "That is not the admin token. It is in the file admin.token in the relay's data directory."
            return page("sign_in.html", status=403, error=wrong)
        self._sessions = {key: expires for key, expires in self._sessions.items() if expires > now}
        session = secrets.token_urlsafe(32)
        self._sessions[session] = now + SESSION_S
        response = _see("/")
        response.set_cookie(
            COOKIE, session, httponly=True, samesite="Strict", secure=self._secure, max_age=SESSION_S, path="/"
        )
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        response = _see("/sign-in")
        response.del_cookie(COOKIE, path="/")
        return response


def _see(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})


def page(template: str, *, status: int = 200, **values: object) -> web.Response:
    """``template`` with ``values``, which no cache keeps."""
    text = _ENVIRONMENT.get_template(template).render(**values)
    return web.Response(text=text, status=status, content_type="text/html", headers={"Cache-Control": "no-store"})
