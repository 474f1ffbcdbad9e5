"""Shares: links that open one channel's page to whoever streams on it, without a login, until they expire."""

import hmac
import time
from collections.abc import Callable, Iterable

import structlog
from pydantic import BaseModel, Field

from relay.archive.ranges import iso
from relay.control.models import Sent
from relay.database import ShareRow, SharesRepo
from relay.errors import ConflictError, NotFoundError
from relay.redaction import known
from relay.secret import Secret, new_key

log = structlog.get_logger("relay.control")

TOKEN_BITS = 160
DEFAULT_DAYS = 7.0
MOST = 100  # of one channel, at a time


class NewShare(Sent):
    days: float = Field(default=DEFAULT_DAYS, gt=0, le=3660)


class ShareView(BaseModel):
    """A link as it is listed: its token is kept nowhere and shown once only."""

    id: str
    channel: str
    created_at: str
    expires_at: str


class NewShareView(ShareView):
    """A link just made. ``is_local``: the address opens on the relay's own machine only; ``hint`` says what to do."""

    url: str = Field(repr=False)
    is_local: bool
    hint: str


class ShareList(BaseModel):
    shares: list[ShareView]


class Shares:
    """Every link by the digest of its token, in memory as in the database. ``known``: the channels there are."""

    def __init__(
        self, repo: SharesRepo, known: Callable[[], Iterable[str]], clock: Callable[[], float] = time.time
    ) -> None:
        self._repo = repo
        self._known = known
        self._clock = clock
        self._rows: dict[str, ShareRow] = {}  # by digest

    async def start(self) -> None:
        """Load what is not expired, forget the rest."""
        self._rows = {row.digest: row for row in await self._repo.all()}
        await self._forget_expired()

    async def create(self, channel: str, days: float = DEFAULT_DAYS) -> tuple[ShareView, Secret]:
        """A new link and its token, which is not kept. Raises NotFoundError or ConflictError."""
        self._check(channel)
        await self._forget_expired()
        if len(self.list(channel)) >= MOST:
            raise ConflictError(f"channel {channel} has {MOST} links; take some back (relay channel unshare ID)")
        token, now = known.know(new_key(TOKEN_BITS)), self._clock()
        row = ShareRow(
            id=new_key(40).reveal(),
            channel=channel,
            digest=token.digest(),
            created_at=now,
            expires_at=now + days * 86_400,
        )
        await self._repo.add(row)
        self._rows[row.digest] = row
        log.info("channel shared", channel=channel, share=row.id, days=days)
        return _view(row), token

    def list(self, channel: str) -> list[ShareView]:
        """The links that open ``channel`` now, oldest first. Raises NotFoundError."""
        self._check(channel)
        now = self._clock()
        return [_view(row) for row in self._rows.values() if row.channel == channel and row.expires_at > now]

    async def revoke(self, share: str) -> None:
        """Take a link back: its pages are told within seconds. Raises NotFoundError."""
        for row in self._rows.values():
            if row.id == share:
                await self._repo.remove(share)
                self._rows.pop(row.digest, None)
                log.info("share taken back", channel=row.channel, share=share)
                return
        raise NotFoundError(f"there is no link {share}; `relay channel shares NAME` shows those there are")

    def forget(self, channel: str) -> None:
        """The channel is gone, and its links with it (in the database, too)."""
        self._rows = {digest: row for digest, row in self._rows.items() if row.channel != channel}

    def open(self, token: str) -> ShareRow:
        """The link that ``token`` is. Raises NotFoundError, the same for wrong, expired and taken-back ones."""
        digest = Secret(token).digest()
        row = self._rows.get(digest)
        if row is None or not hmac.compare_digest(row.digest, digest) or row.expires_at <= self._clock():
            raise NotFoundError("this link opens nothing, or no longer: ask for a new one")
        return row

    async def _forget_expired(self) -> None:
        now = self._clock()
        for row in [row for row in self._rows.values() if row.expires_at <= now]:
            await self._repo.remove(row.id)
            self._rows.pop(row.digest, None)

    def _check(self, channel: str) -> None:
        if channel not in self._known():
            raise NotFoundError(f"there is no channel {channel}; `relay channel list` shows those there are")


def _view(row: ShareRow) -> ShareView:
    return ShareView(id=row.id, channel=row.channel, created_at=iso(row.created_at), expires_at=iso(row.expires_at))
