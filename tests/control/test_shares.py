"""Shares: many links, none of them kept, each ending in its time or when it is taken back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.config import Settings
from relay.control.models import NewChannel
from relay.control.shares import MOST, Shares
from relay.database import Database
from relay.errors import ConflictError, NotFoundError
from relay.secret import Secret
from tests.support.app import running_app


class Clock:
    """The test's own time, in unix seconds."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(Settings(data_dir=tmp_path))
    yield database
    database.close()


async def made(database: Database, clock: Clock) -> Shares:
    await database.channels.create("talk", Secret("s"), Secret("r"), {})
    shares = Shares(database.shares, lambda: ("talk",), clock)
    await shares.start()
    return shares


async def test_a_link_opens_its_channel_until_it_expires(database: Database, tmp_path: Path) -> None:
    clock = Clock()
    shares = await made(database, clock)
    view, token = await shares.create("talk", days=2)
    other, second = await shares.create("talk")
    assert token != second
    assert len(token.reveal()) * 4.95 > 128
    assert shares.open(token.reveal()).channel == "talk"
    assert [item.id for item in shares.list("talk")] == [view.id, other.id]
    assert token.reveal().encode() not in b"".join(file.read_bytes() for file in tmp_path.glob("relay.db*"))
    again = Shares(database.shares, lambda: ("talk",), clock)
    await again.start()
    assert again.open(token.reveal()).id == view.id
    clock.now += 2 * 86_400
    with pytest.raises(NotFoundError, match="no longer"):
        again.open(token.reveal())
    assert again.open(second.reveal()).id == other.id
    assert [item.id for item in again.list("talk")] == [other.id]
    await again.start()
    assert [row.id for row in await database.shares.all()] == [other.id]


async def test_wrong_expired_and_taken_back_links_look_the_same(database: Database) -> None:
    clock = Clock()
    shares = await made(database, clock)
    view, token = await shares.create("talk", days=1)
    _, short = await shares.create("talk", days=0.5)
    await shares.revoke(view.id)
    clock.now += 0.6 * 86_400
    told = set()
    for text in (token.reveal(), short.reveal(), "", "x" * 5000, "\ud800", token.reveal()[:-1]):
        with pytest.raises(NotFoundError) as error:
            shares.open(text)
        told.add(str(error.value))
    assert len(told) == 1
    with pytest.raises(NotFoundError):
        await shares.revoke(view.id)


async def test_links_are_bounded_and_want_a_channel(database: Database) -> None:
    shares = await made(database, Clock())
    for _ in range(MOST):
        await shares.create("talk")
    with pytest.raises(ConflictError, match=str(MOST)):
        await shares.create("talk")
    for ask in (shares.create("none"), shares.create("x" * 100)):
        with pytest.raises(NotFoundError):
            await ask
    with pytest.raises(NotFoundError):
        shares.list("none")


async def test_a_channel_made_anew_is_not_opened_by_old_links(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        _, token = await app.control.shares.create("demo")
        await app.control.delete_channel("demo")
        await app.control.create_channel(NewChannel(name="demo"))
        with pytest.raises(NotFoundError):
            app.control.shares.open(token.reveal())
