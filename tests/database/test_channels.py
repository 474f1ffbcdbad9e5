"""ChannelsRepo: channels, keys and destinations come back as stored; conflicts and absences are named."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from relay.database import ChannelRow, Database, DestinationRow
from relay.database.schema import channels
from relay.errors import ConflictError, NotFoundError
from relay.secret import Secret


async def make(database: Database, name: str = "demo") -> ChannelRow:
    return await database.channels.create(name, Secret(f"stream-{name}"), Secret(f"read-{name}"), {"tick_ms": 50})


async def test_a_channel_and_its_destinations_come_back_in_order(database: Database) -> None:
    await make(database)
    rows = [
        DestinationRow(name="z", url="rtmp://a/b", key=Secret("k1"), platform="custom"),
        DestinationRow(name="a", url="rtmps://c/d", key=Secret("k2"), platform="youtube", enabled=False),
    ]
    await database.channels.set_destinations("demo", rows)
    (channel,) = await database.channels.all()
    assert channel.options == {"tick_ms": 50}
    assert channel.read_key == Secret("read-demo")
    assert list(channel.destinations) == rows
    await database.channels.set_destinations("demo", rows[1:])
    assert list((await database.channels.all())[0].destinations) == rows[1:]


async def test_a_source_comes_back_and_lies_encrypted(database: Database) -> None:
    source = Secret('{"url": "https://h/a?token=SECRET"}')
    row = await database.channels.create("a", Secret("s"), Secret("r"), {"x": 1}, source=source)
    assert row.source == source
    (again,) = await database.channels.all()
    assert (again.source, again.options) == (source, {"x": 1})
    (stored,) = await database.run(lambda connection: connection.execute(sa.select(channels.c.options)).scalars().all())
    assert "SECRET" not in stored["source"]
    await database.channels.update(replace(again, source=Secret("")))
    (bare,) = await database.channels.all()
    assert (bool(bare.source), bare.options) == (False, {"x": 1})


async def test_a_name_or_key_twice_is_a_conflict(database: Database) -> None:
    await make(database)
    with pytest.raises(ConflictError, match="demo"):
        await make(database)
    with pytest.raises(ConflictError):
        await database.channels.create("other", Secret("stream-demo"), Secret("r"), {})


async def test_keys_can_be_changed_but_not_to_anothers(database: Database) -> None:
    row = await make(database)
    await make(database, "other")
    changed = ChannelRow(
        name="demo", created_at=row.created_at, stream_key=Secret("new"), read_key=row.read_key, options={}
    )
    await database.channels.update(changed)
    assert (await database.channels.all())[0].stream_key == Secret("new")
    stolen = ChannelRow(name="demo", created_at=0, stream_key=Secret("stream-other"), read_key=row.read_key, options={})
    with pytest.raises(ConflictError):
        await database.channels.update(stolen)


async def test_deleting_takes_destinations_along_and_absence_is_named(database: Database) -> None:
    row = await make(database)
    await database.channels.set_destinations("demo", [DestinationRow(name="a", url="rtmp://a/b")])
    await database.channels.delete("demo")
    assert await database.channels.all() == []
    with pytest.raises(NotFoundError):
        await database.channels.delete("demo")
    with pytest.raises(NotFoundError):
        await database.channels.update(row)
    await make(database)
    assert (await database.channels.all())[0].destinations == ()
