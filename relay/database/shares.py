"""SharesRepo: links to a channel's page; of each only the digest of its token."""

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from relay.database.channels import Run
from relay.database.schema import shares
from relay.errors import NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRow:
    """One link. Times in unix seconds; ``digest``: SHA-256 of its token, in hex."""

    id: str
    channel: str
    digest: str
    created_at: float
    expires_at: float


class SharesRepo:
    """Every operation is one transaction in the database's writer thread."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def all(self) -> list[ShareRow]:
        """Every link, oldest first, expired ones too."""
        statement = sa.select(shares).order_by(shares.c.created_at, shares.c.id)
        return await self._run(lambda connection: [ShareRow(**row) for row in connection.execute(statement).mappings()])

    async def add(self, row: ShareRow) -> None:
        """Add a link. Raises NotFoundError when there is no such channel."""
        try:
            await self._run(lambda connection: connection.execute(sa.insert(shares).values(asdict(row))))
        except sa.exc.IntegrityError as error:
            raise NotFoundError(f"there is no channel {row.channel}") from error

    async def remove(self, share: str) -> None:
        """Forget a link; nothing where there is none."""
        await self._run(lambda connection: connection.execute(sa.delete(shares).where(shares.c.id == share)))
