"""WebhooksRepo: where events are sent, URL and secret encrypted."""

from dataclasses import dataclass

import sqlalchemy as sa

from relay.database.channels import Run
from relay.database.crypto import Cipher
from relay.database.schema import webhooks
from relay.errors import NotFoundError
from relay.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRow:
    """One webhook as stored, decrypted. ``channel`` None: of every channel; no ``events``: every event."""

    id: str
    channel: str | None
    created_at: float
    url: Secret
    secret: Secret
    events: tuple[str, ...] = ()


class WebhooksRepo:
    """Every operation is one transaction in the database's writer thread."""

    def __init__(self, run: Run, cipher: Cipher) -> None:
        self._run = run
        self._cipher = cipher

    async def all(self) -> list[WebhookRow]:
        """Every webhook, oldest first."""
        statement = sa.select(webhooks).order_by(webhooks.c.created_at, webhooks.c.id)

        def work(connection: sa.Connection) -> list[WebhookRow]:
            return [
                WebhookRow(
                    id=row["id"],
                    channel=row["channel"],
                    created_at=row["created_at"],
                    url=self._cipher.decrypt(row["url"]),
                    secret=self._cipher.decrypt(row["secret"]),
                    events=tuple(row["events"]),
                )
                for row in connection.execute(statement).mappings()
            ]

        return await self._run(work)

    async def add(self, row: WebhookRow) -> None:
        """Add a webhook. Raises NotFoundError when there is no such channel."""
        values = {
            "id": row.id,
            "channel": row.channel,
            "created_at": row.created_at,
            "url": self._cipher.encrypt(row.url),
            "secret": self._cipher.encrypt(row.secret),
            "events": list(row.events),
        }
        try:
            await self._run(lambda connection: connection.execute(sa.insert(webhooks).values(values)))
        except sa.exc.IntegrityError as error:
            raise NotFoundError(f"there is no channel {row.channel}") from error

    async def remove(self, webhook: str) -> None:
        """Forget a webhook; nothing where there is none."""
        await self._run(lambda connection: connection.execute(sa.delete(webhooks).where(webhooks.c.id == webhook)))
