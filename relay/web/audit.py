"""What is done through the web, for the audit log: every change by its route, every sign-in; and how it is read."""

from aiohttp import web
from pydantic import BaseModel

from relay.audit import AuditLog, Entry
from relay.errors import InvalidError
from relay.web.api import BASE, answer
from relay.web.routes import ABOUT, Caller, Route, address_of

ADMIN = "admin token"
CLI = "relay-cli"  # how the command line names itself as a user agent
LAST, MOST = 200, 10_000


class AuditList(BaseModel):
    entries: list[Entry]


class WebAudit:
    """Writes and serves the audit log."""

    def __init__(self, log: AuditLog, *, behind_proxy: bool) -> None:
        self._log = log
        self._behind_proxy = behind_proxy

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path=f"{BASE}/audit",
                handler=self.list_entries,
                summary="Who changed what and who signed in, the newest first",
                answer=AuditList,
                query=("last",),
            )
        ]

    async def list_entries(self, request: web.Request) -> web.Response:
        text = request.query.get("last", str(LAST))
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST):
            raise InvalidError(f"last: write a number from 1 to {MOST}")
        return answer(AuditList(entries=await self._log.last(int(text))))

    async def last(self, many: int = LAST) -> list[Entry]:
        """The newest entries, the newest first."""
        return await self._log.last(many)

    async def changed(self, request: web.Request, caller: Caller, route: Route, *, failed: bool = False) -> None:
        """``caller`` has done what ``route`` is for; ``failed``: or a part of it, before something broke."""
        facts: dict[str, object] = dict(request.get(ABOUT, {}))
        if (named := facts.pop("named", None)) is not None:
            facts = {route.made: named, **facts}
        for name, value in request.match_info.items():
            facts[route.noun(name)] = value
        if failed:
            facts["outcome"] = "failed: the log says why"
        await self._log.note(
            caller.name or ADMIN, route.audit, address=self._address(request), via=_via(request), **facts
        )

    async def signed_in(self, request: web.Request, user: str) -> None:
        await self._log.note(user or ADMIN, "signed in", address=self._address(request), via="console")

    async def signed_out(self, request: web.Request, user: str) -> None:
        await self._log.note(user or ADMIN, "signed out", address=self._address(request), via="console")

    async def refused(self, request: web.Request, user: str, why: str) -> None:
        """Somebody did not get in: with a ``user`` there is, with a name nobody has (empty), or with a token."""
        await self._log.refused(
            user or "unknown", "sign-in refused", address=self._address(request), via=_via(request), reason=why
        )

    async def forbidden(self, request: web.Request, caller: Caller, route: Route) -> None:
        """Somebody who is known wanted more than is theirs."""
        await self._log.refused(
            caller.name or ADMIN, "not allowed", address=self._address(request), via=_via(request), wanted=route.summary
        )

    def _address(self, request: web.Request) -> str:
        return address_of(request, behind_proxy=self._behind_proxy)


def _via(request: web.Request) -> str:
    if "Authorization" not in request.headers:
        return "console"
    return "cli" if request.headers.get("User-Agent", "").startswith(CLI) else "api"
