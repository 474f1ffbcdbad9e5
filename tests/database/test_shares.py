"""SharesRepo: links come back as stored, and go with their channel."""

from dataclasses import replace

import pytest

from relay.database import Database, ShareRow
from relay.errors import NotFoundError
from relay.secret import Secret

ROW = ShareRow(id="a", channel="demo", digest="0" * 64, created_at=1.0, expires_at=2.0)


async def test_links_are_kept_and_forgotten(database: Database) -> None:
    await database.channels.create("demo", Secret("s"), Secret("r"), {})
    later = replace(ROW, id="b", digest="1" * 64, created_at=5.0)
    await database.shares.add(later)
    await database.shares.add(ROW)
    assert await database.shares.all() == [ROW, later]
    await database.shares.remove("a")
    await database.shares.remove("a")
    assert await database.shares.all() == [later]
    await database.channels.delete("demo")
    assert await database.shares.all() == []


async def test_a_link_to_nothing_is_refused(database: Database) -> None:
    with pytest.raises(NotFoundError, match="demo"):
        await database.shares.add(ROW)
