"""WebhooksRepo: what is stored is encrypted, comes back, and goes with its channel."""

from dataclasses import replace
from pathlib import Path

import pytest

from relay.database import Database, WebhookRow
from relay.errors import NotFoundError
from relay.secret import Secret

ROW = WebhookRow(
    id="a",
    channel=None,
    created_at=1.0,
    url=Secret("https://hooks.example/very-secret-part"),
    secret=Secret("signing-secret-of-this-one"),
    events=("channel.live", "ping"),
)


async def test_webhooks_come_back_and_their_secrets_are_not_in_the_file(database: Database, tmp_path: Path) -> None:
    await database.channels.create("demo", Secret("s"), Secret("r"), {})
    own = replace(ROW, id="b", channel="demo", created_at=2.0, events=())
    await database.webhooks.add(own)
    await database.webhooks.add(ROW)
    assert await database.webhooks.all() == [ROW, own]
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("relay.db*"))
    assert b"very-secret-part" not in stored
    assert b"signing-secret" not in stored
    await database.channels.delete("demo")
    assert await database.webhooks.all() == [ROW]
    await database.webhooks.remove("a")
    assert await database.webhooks.all() == []


async def test_a_webhook_of_no_channel_is_refused(database: Database) -> None:
    with pytest.raises(NotFoundError, match="gone"):
        await database.webhooks.add(replace(ROW, channel="gone"))
