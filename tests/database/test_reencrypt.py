"""Re-encrypting: every secret can be read afterwards, with the new key only, and whatever interrupts it loses none."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from relay.config import Settings
from relay.database import ChannelRow, Database, DestinationRow, WebhookRow
from relay.database.crypto import Cipher
from relay.database.schema import channels, destinations, webhooks
from relay.errors import ConfigError
from relay.secret import Secret

QUERY = "rtmp://host.example/app?token=a-token-in-the-query"
SECOND = "https://second.example/up/{key}?auth=a-second-token"


async def filled(database: Database) -> None:
    place = DestinationRow(name="d", url=QUERY, key=Secret("the-destination-key"), options={"backup": SECOND})
    plain = DestinationRow(name="e", url="rtmp://host.example/app", key=Secret("another-key"))
    await database.channels.create(
        "talk", Secret("s" * 30), Secret("r" * 30), {}, [place, plain], Secret('{"url": ""}')
    )
    await database.webhooks.add(
        WebhookRow(
            id="w", channel=None, created_at=1.0, url=Secret("https://h.example/x"), secret=Secret("hook-secret")
        )
    )


async def read(database: Database) -> tuple[list[ChannelRow], list[WebhookRow]]:
    return await database.channels.all(), await database.webhooks.all()


async def stored(database: Database) -> str:
    """Every column of every row that may hold a secret."""

    def work(connection: sa.Connection) -> str:
        return repr([list(connection.execute(sa.select(table))) for table in (channels, destinations, webhooks)])

    return await database.run(work)


async def test_all_is_read_with_the_new_key_and_nothing_with_the_old_one(tmp_path: Path) -> None:
    database = Database(Settings(data_dir=tmp_path))
    await filled(database)
    before, text = await read(database), await stored(database)
    (tmp_path / "old.key").write_bytes((tmp_path / "secret.key").read_bytes())
    signature = database.cipher.sign("x")
    assert await database.reencrypt() == 8
    assert await read(database) == before
    assert database.cipher.sign("x") != signature
    assert len((tmp_path / "secret.key").read_bytes().split()) == 1
    after = await stored(database)
    for token in (part for part in text.replace("'", " ").split() if part.startswith("gAAAA")):
        assert token not in after
    old = Cipher(tmp_path / "old.key")
    (row,) = await database.run(lambda connection: list(connection.execute(sa.select(channels))))
    with pytest.raises(ConfigError):
        old.decrypt(row.stream_key)
    database.close()
    again = Database(Settings(data_dir=tmp_path))
    assert await read(again) == before
    again.close()


@pytest.mark.parametrize("where", ["before", "after"])
async def test_an_interrupted_change_of_key_loses_nothing_and_is_finished(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the transaction, or between it and the file's last change."""
    database = Database(Settings(data_dir=tmp_path))
    await filled(database)
    before = await read(database)

    def crash(*_: Any) -> None:
        raise KeyError("the power went")

    with monkeypatch.context() as patched:
        if where == "before":
            patched.setattr("relay.database.engine.reencrypt", crash)
        else:
            patched.setattr(Cipher, "finish", crash)
        with pytest.raises(KeyError):
            await database.reencrypt()
    await database.channels.update(before[0][0])  # the relay goes on meanwhile
    database.close()
    again = Database(Settings(data_dir=tmp_path))
    assert again.cipher.is_changing
    assert await read(again) == before
    assert await again.finish_reencrypting() == 8
    assert not again.cipher.is_changing
    assert await read(again) == before
    again.close()


async def test_what_is_changed_meanwhile_is_kept(tmp_path: Path) -> None:
    database = Database(Settings(data_dir=tmp_path))
    await filled(database)
    (row,) = await database.channels.all()
    changes = [database.channels.set_destinations("talk", row.destinations) for _ in range(20)]
    await asyncio.gather(*changes[:10], database.reencrypt(), *changes[10:])
    assert (await database.channels.all()) == [row]
    database.close()


async def test_an_address_with_more_in_it_than_a_key_is_stored_sealed(tmp_path: Path) -> None:
    database = Database(Settings(data_dir=tmp_path))
    await filled(database)
    text = await stored(database)
    for secret in ("a-token-in-the-query", "a-second-token"):
        assert secret not in text
    (row,) = await database.channels.all()
    assert (row.destinations[0].url, row.destinations[0].options) == (QUERY, {"backup": SECOND})
    database.close()


async def test_what_a_former_version_stored_in_the_open_is_sealed_at_the_start(tmp_path: Path) -> None:
    database = Database(Settings(data_dir=tmp_path))
    await filled(database)
    statement = sa.update(destinations).where(destinations.c.name == "d").values(url=QUERY, options={"backup": SECOND})
    await database.run(lambda connection: connection.execute(statement))
    assert "a-second-token" in await stored(database)
    (row,) = await database.channels.all()
    assert (row.destinations[0].url, row.destinations[0].options) == (QUERY, {"backup": SECOND})
    assert "a-second-token" not in await stored(database)
    assert "a-token-in-the-query" not in await stored(database)
    assert await database.channels.all() == [row]
    database.close()
