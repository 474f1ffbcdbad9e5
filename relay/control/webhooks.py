"""Webhooks as the operator sees them: add, list, test, remove."""

import time
from collections.abc import Callable, Iterable
from typing import Annotated

import structlog
from pydantic import AfterValidator, BaseModel, Field

from relay.archive.ranges import iso
from relay.control.fields import Key, Name
from relay.control.models import Sent
from relay.database import WebhookRow, WebhooksRepo
from relay.errors import ConflictError, DestinationError, InvalidError, NotFoundError
from relay.hooks.event import EVENTS
from relay.hooks.hooks import CONNECTIONS, Hooks
from relay.hooks.sender import Hook
from relay.outbound.http import http_url
from relay.secret import Secret, new_key

log = structlog.get_logger("relay.control")


def _event(value: str) -> str:
    if value not in EVENTS:
        raise ValueError(f"there is no event {value[:40]}; those there are: {', '.join(EVENTS)}")
    return value


class NewWebhook(Sent):
    """``channel``: only what happens there; none: everything. ``secret``: made when left out."""

    url: str = Field(max_length=2048, repr=False)
    channel: Name | None = None
    events: list[Annotated[str, AfterValidator(_event)]] = Field(default_factory=list, max_length=len(EVENTS))
    secret: Key | None = Field(default=None, repr=False)


class WebhookView(BaseModel):
    """A webhook and how it is doing. ``address``: scheme and host only, the rest of such URLs is often a secret."""

    id: str
    channel: str | None
    address: str
    events: list[str]
    created_at: str
    delivered: int
    failures: int
    dropped: int
    waiting: int
    last_error: str


class NewWebhookView(WebhookView):
    """With the secret its events are signed with, shown this once."""

    secret: str = Field(repr=False)


class WebhookList(BaseModel):
    webhooks: list[WebhookView]


class WebhookTest(BaseModel):
    """What became of a ping."""

    delivered: bool
    words: str


class Webhooks:
    """Every webhook, in the database and in the running relay together. ``known``: the channels there are."""

    def __init__(self, repo: WebhooksRepo, hooks: Hooks, known: Callable[[], Iterable[str]]) -> None:
        self._repo = repo
        self._hooks = hooks
        self._known = known
        self._rows: dict[str, WebhookRow] = {}

    async def start(self) -> None:
        self._set(await self._repo.all())

    def _set(self, rows: Iterable[WebhookRow]) -> None:
        self._rows = {row.id: row for row in rows}
        self._hooks.configure(_hook(row) for row in self._rows.values())

    async def add(self, wanted: NewWebhook) -> NewWebhookView:
        """Raises InvalidError, NotFoundError or ConflictError."""
        try:
            http_url(wanted.url)
        except DestinationError as error:
            raise InvalidError(f"url: {error}") from error
        if wanted.channel is not None and wanted.channel not in self._known():
            raise NotFoundError(f"there is no channel {wanted.channel}; `relay channel list` shows those there are")
        if len(self._rows) >= CONNECTIONS:
            raise ConflictError(f"there are {CONNECTIONS} webhooks, the most there may be")
        secret = new_key() if wanted.secret is None else Secret(wanted.secret)
        row = WebhookRow(
            id=new_key(40).reveal(),
            channel=wanted.channel,
            created_at=time.time(),
            url=Secret(wanted.url),
            secret=secret,
            events=tuple(dict.fromkeys(wanted.events)),
        )
        await self._repo.add(row)
        self._set([*self._rows.values(), row])
        log.info("webhook added", webhook=row.id, channel=row.channel, address=_shown(row.url))
        return NewWebhookView(**self._view(row).model_dump(), secret=secret.reveal())

    def list(self) -> list[WebhookView]:
        """Oldest first."""
        return [self._view(row) for row in self._rows.values()]

    async def remove(self, webhook: str) -> None:
        """What waits for it is not told. Raises NotFoundError."""
        self._row(webhook)
        await self._repo.remove(webhook)
        self._set(row for row in self._rows.values() if row.id != webhook)
        log.info("webhook removed", webhook=webhook)

    async def test(self, webhook: str) -> WebhookTest:
        """Send a ping now. Raises NotFoundError."""
        try:
            await self._hooks.test(_hook(self._row(webhook)))
        except DestinationError as error:
            return WebhookTest(delivered=False, words=str(error))
        return WebhookTest(delivered=True, words="taken")

    def forget(self, channel: str) -> None:
        """The channel is gone, and its webhooks with it (in the database, too)."""
        self._set([row for row in self._rows.values() if row.channel != channel])

    def _row(self, webhook: str) -> WebhookRow:
        row = self._rows.get(webhook)
        if row is None:
            raise NotFoundError(f"there is no webhook {webhook}; `relay webhook list` shows those there are")
        return row

    def _view(self, row: WebhookRow) -> WebhookView:
        stats, waiting = self._hooks.stats()[row.id]
        return WebhookView(
            id=row.id,
            channel=row.channel,
            address=_shown(row.url),
            events=list(row.events),
            created_at=iso(row.created_at),
            delivered=stats.delivered,
            failures=stats.failures,
            dropped=stats.dropped,
            waiting=waiting,
            last_error=stats.last_error,
        )


def _hook(row: WebhookRow) -> Hook:
    return Hook(id=row.id, url=row.url, secret=row.secret, channel=row.channel, events=frozenset(row.events))


def _shown(url: Secret) -> str:
    known = http_url(url.reveal())
    return f"{known.scheme}://{known.host}:{known.port}"
