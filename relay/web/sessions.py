"""Sessions: signing in to the console with the admin token or as a user, slowed for who guesses, and signing out."""

import secrets
import time
from dataclasses import dataclass

import structlog
from aiohttp import web

from relay.control.users import Role, Users
from relay.secret import Secret
from relay.throttle import Throttle
from relay.web.pages import page, see
from relay.web.routes import Caller, address_of, receive

log = structlog.get_logger("relay.web")

COOKIE = "relay_session"
SESSION_S = 12 * 3600
FAILURES = 10  # a minute, from one address
FAILURES_BEHIND_PROXY = 100  # of all its visitors: it may pass on whatever address they claim to have


@dataclass(frozen=True, slots=True)
class Session:
    """``user``: empty for the admin token. ``hash``: of the password it began with; another one ends it."""

    expires: float  # monotonic seconds
    user: str = ""
    hash: str = ""


class Sessions:
    """Who is signed in. Kept in memory: a restart asks everybody again."""

    def __init__(self, users: Users, token: Secret, *, secure: bool, behind_proxy: bool = False) -> None:
        self._users = users
        self._token = token
        self._secure = secure
        self._behind_proxy = behind_proxy
        self._sessions: dict[str, Session] = {}  # by digest: finding one tells nothing of others by its timing
        self._failures, self._shared = Throttle(FAILURES), Throttle(FAILURES_BEHIND_PROXY)  # and tries under way

    def register(self, app: web.Application) -> None:
        app.router.add_get("/sign-in", self.sign_in_page)
        app.router.add_post("/sign-in", self.sign_in)
        app.router.add_post("/sign-out", self.sign_out)

    def caller(self, request: web.Request) -> Caller | None:
        """Who the request's session belongs to; changes must also come from our own pages (RFC 6265bis, CSRF)."""
        if request.method not in ("GET", "HEAD") and request.headers.get("Sec-Fetch-Site") != "same-origin":
            return None
        return self.visitor(request)

    def visitor(self, request: web.Request) -> Caller | None:
        """Who the request's session belongs to, for what changes nothing."""
        session = self._sessions.get(_digest(request.cookies.get(COOKIE, "")))
        if session is None or session.expires < time.monotonic():
            return None
        if not session.user:
            return Caller("", Role.ADMIN)
        user = self._users.find(session.user)
        if user is None or user.hash != session.hash:
            return None
        return Caller(user.name, user.rank)

    async def sign_in_page(self, request: web.Request) -> web.Response:
        return self._page()

    async def sign_in(self, request: web.Request) -> web.Response:
        """A new session for the right token, or the right name and password."""
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return self._page("Open the sign-in page of this relay itself: this form came from another site.", 403)
        now = time.monotonic()
        address = address_of(request, behind_proxy=self._behind_proxy)
        if self._failures.is_full(address) or (self._behind_proxy and self._shared.is_full("")):
            return self._page("Too many wrong tries. Wait a minute, then try again.", 429)
        self._failures.note(address)
        self._shared.note("")  # until it turns out right, so that many at once are slowed, too
        await receive(request)
        form = await request.post()
        name, shown = str(form.get("name", "")).strip(), Secret(str(form.get("token", "")).strip())
        session = await self._open(name, shown, now)
        if session is None:
            known = name if self._users.find(name) is not None else ""  # what else was typed there may be a password
            log.warning("sign-in refused", address=address, user=known)
            wrong = "That is not the admin token. It is in the file admin.token in the relay's data directory."
            if self._users.list():
                wrong = "That name and password do not go together."
                if not name:
                    wrong = "That is not the admin token. Users sign in with their name and password."
            return self._page(wrong, 403, name=name)
        self._failures.forgive(address)
        self._shared.forgive("")
        log.info("signed in", address=address, user=session.user or "admin token")
        self._sessions = {key: kept for key, kept in self._sessions.items() if kept.expires > now}
        key = secrets.token_urlsafe(32)
        self._sessions[_digest(key)] = session
        response = see("/")
        response.set_cookie(
            COOKIE, key, httponly=True, samesite="Strict", secure=self._secure, max_age=SESSION_S, path="/"
        )
        return response

    async def _open(self, name: str, shown: Secret, now: float) -> Session | None:
        if not name:
            return Session(now + SESSION_S) if shown == self._token else None
        user = await self._users.verify(name, shown)
        return None if user is None else Session(now + SESSION_S, user.name, user.hash)

    async def sign_out(self, request: web.Request) -> web.Response:
        self._sessions.pop(_digest(request.cookies.get(COOKIE, "")), None)
        response = see("/sign-in")
        response.del_cookie(COOKIE, path="/")
        return response

    def _page(self, error: str = "", status: int = 200, name: str = "") -> web.Response:
        return page("sign_in.html", status=status, error=error, name=name, has_users=bool(self._users.list()))


def _digest(cookie: str) -> str:
    return Secret(cookie).digest()
