"""ChannelsRepo: configured channels, their keys and their destinations."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from relay.database.crypto import Cipher
from relay.database.schema import channels, destinations
from relay.errors import ConflictError, NotFoundError
from relay.redaction import known
from relay.secret import Secret

Result = TypeVar("Result")
SOURCE = "source"
BACKUP = "backup"  # option of a destination: a second address, or whether the platform's own is used
SEALED = "sealed"  # option of a destination with its whole addresses, where they hold more than a key


class Run(Protocol):
    """How work gets to the writer thread (Database.run)."""

    def __call__(self, work: Callable[[sa.Connection], Result]) -> Awaitable[Result]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRow:
    """One destination as stored, its key decrypted."""

    name: str
    url: str
    key: Secret = field(default_factory=lambda: Secret(""))
    platform: str = "custom"
    kind: str = "rtmp"
    enabled: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = field(init=False, compare=False, repr=False)  # to be known while the row is

    def __post_init__(self) -> None:
        told = [address for address in (self.url, _second(self.options)) if "?" in address]
        object.__setattr__(self, "secrets", tuple(known.know(Secret(address)) for address in told))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow:
    """One channel as stored, its keys decrypted. ``created_at``: unix seconds. ``source``: JSON; empty: none."""

    name: str
    created_at: float
    stream_key: Secret
    read_key: Secret
    options: dict[str, Any]
    destinations: tuple[DestinationRow, ...] = ()
    source: Secret = field(default_factory=lambda: Secret(""))


def _second(options: dict[str, Any]) -> str:
    """A destination's second address; empty: none of its own."""
    backup = options.get(BACKUP)
    return backup if isinstance(backup, str) else ""


class ChannelsRepo:
    """Every operation is one transaction in the database's writer thread."""

    def __init__(self, run: Run, cipher: Cipher) -> None:
        self._run = run
        self._cipher = cipher

    async def all(self) -> list[ChannelRow]:
        """Every channel with its destinations, by name."""
        return await self._run(self._all)

    def _all(self, connection: sa.Connection) -> list[ChannelRow]:
        grouped: dict[str, list[DestinationRow]] = {}
        plain: set[str] = set()
        ordered = sa.select(destinations).order_by(destinations.c.channel, destinations.c.position)
        for row in connection.execute(ordered).mappings():
            grouped.setdefault(row["channel"], []).append(
                DestinationRow(
                    name=row["name"],
                    key=self._cipher.decrypt(row["key"]),
                    platform=row["platform"],
                    kind=row["kind"],
                    enabled=row["enabled"],
                    **self._unsealed(row),
                )
            )
            if "?" in row["url"] + _second(row["options"]) and SEALED not in row["options"]:
                plain.add(row["channel"])
        for name in plain:  # of a former version, which kept them as they are
            self._replace(connection, name, grouped[name])
        return [
            ChannelRow(
                name=row["name"],
                created_at=row["created_at"],
                stream_key=self._cipher.decrypt(row["stream_key"]),
                read_key=self._cipher.decrypt(row["read_key"]),
                options={name: value for name, value in row["options"].items() if name != SOURCE},
                source=self._source(row["options"]),
                destinations=tuple(grouped.get(row["name"], ())),
            )
            for row in connection.execute(sa.select(channels).order_by(channels.c.name)).mappings()
        ]

    async def create(
        self,
        name: str,
        stream_key: Secret,
        read_key: Secret,
        options: dict[str, Any],
        places: Sequence[DestinationRow] = (),
        source: Secret | None = None,
    ) -> ChannelRow:
        """A new channel with its destinations. Raises ConflictError when name or key is taken."""
        row = ChannelRow(
            name=name,
            created_at=time.time(),
            stream_key=stream_key,
            read_key=read_key,
            options=options,
            destinations=tuple(places),
            source=source or Secret(""),
        )
        values = {"name": name, "created_at": row.created_at, "options": self._options(row), **self._keys(row)}

        def add(connection: sa.Connection) -> None:
            connection.execute(sa.insert(channels).values(values))
            self._replace(connection, name, places)

        try:
            await self._run(add)
        except sa.exc.IntegrityError as error:
            raise ConflictError(f"there is already a channel {name}, or another channel has this key") from error
        return row

    async def update(self, row: ChannelRow) -> None:
        """Store the row's keys, options and source. Raises NotFoundError, or ConflictError when a key is another's."""
        statement = (
            sa.update(channels).where(channels.c.name == row.name).values(options=self._options(row), **self._keys(row))
        )
        try:
            result = await self._run(lambda connection: connection.execute(statement).rowcount)
        except sa.exc.IntegrityError as error:
            raise ConflictError("another channel has this key") from error
        if not result:
            raise NotFoundError(f"there is no channel {row.name}")

    async def delete(self, name: str) -> None:
        """Remove a channel and its destinations; its recordings stay. Raises NotFoundError."""
        statement = sa.delete(channels).where(channels.c.name == name)
        if not await self._run(lambda connection: connection.execute(statement).rowcount):
            raise NotFoundError(f"there is no channel {name}")

    async def set_destinations(self, channel: str, rows: Sequence[DestinationRow]) -> None:
        """Make ``rows``, in this order, the channel's destinations."""
        await self._run(lambda connection: self._replace(connection, channel, rows))

    def _replace(self, connection: sa.Connection, channel: str, rows: Sequence[DestinationRow]) -> None:
        connection.execute(sa.delete(destinations).where(destinations.c.channel == channel))
        values = [
            {
                "channel": channel,
                "name": row.name,
                "position": position,
                "kind": row.kind,
                "platform": row.platform,
                "key": self._cipher.encrypt(row.key),
                "enabled": row.enabled,
                **self._sealed(row),
            }
            for position, row in enumerate(rows)
        ]
        if values:
            connection.execute(sa.insert(destinations), values)

    def _sealed(self, row: DestinationRow) -> dict[str, Any]:
        """URL and options as stored: what a query of either address says, encrypted, as it may be a token."""
        told = _second(row.options)
        if "?" not in row.url + told:
            return {"url": row.url, "options": row.options}
        whole = self._cipher.encrypt(Secret(json.dumps({"url": row.url, BACKUP: told}))).decode("ascii")
        options = {**row.options, SEALED: whole}
        if told:
            options[BACKUP] = told.partition("?")[0]
        return {"url": row.url.partition("?")[0], "options": options}

    def _unsealed(self, row: sa.RowMapping) -> dict[str, Any]:
        options = dict(row["options"])
        whole = options.pop(SEALED, None)
        if whole is None:
            return {"url": row["url"], "options": options}
        told = json.loads(self._cipher.decrypt(whole.encode("ascii")).reveal())
        if told[BACKUP]:
            options[BACKUP] = told[BACKUP]
        return {"url": told["url"], "options": options}

    def _options(self, row: ChannelRow) -> dict[str, Any]:
        """The options as stored: with the source, encrypted, as its URL and headers may hold credentials."""
        return {**row.options, SOURCE: self._cipher.encrypt(row.source).decode("ascii")} if row.source else row.options

    def _source(self, options: dict[str, Any]) -> Secret:
        return self._cipher.decrypt(options[SOURCE].encode("ascii")) if SOURCE in options else Secret("")

    def _keys(self, row: ChannelRow) -> dict[str, Any]:
        return {
            "stream_key": self._cipher.encrypt(row.stream_key),
            "stream_key_digest": row.stream_key.digest(),
            "read_key": self._cipher.encrypt(row.read_key),
            "read_key_digest": row.read_key.digest(),
        }
