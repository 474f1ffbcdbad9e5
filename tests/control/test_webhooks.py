"""Webhooks: what an operator adds is told at once, survives a restart, and shows no secret again."""

from pathlib import Path

import pytest

from relay.control.models import NewChannel
from relay.control.webhooks import NewWebhook
from relay.errors import InvalidError, NotFoundError
from tests.hooks.receiver import Receiver
from tests.support.app import running_app

SECRET = "a-secret-of-the-test-1234"


async def test_what_is_added_survives_a_restart_and_is_removed(tmp_path: Path) -> None:
    async with Receiver(SECRET) as receiver:
        async with running_app(tmp_path) as app:
            made = await app.control.webhooks.add(NewWebhook(url=receiver.url, secret=SECRET))
            assert made.secret == SECRET
            assert made.address == f"http://127.0.0.1:{receiver.port}"
        async with running_app(tmp_path) as app:
            [view] = app.control.webhooks.list()
            assert "part-of-the-secret" not in view.model_dump_json()
            assert SECRET not in view.model_dump_json()
            assert (await app.control.webhooks.test(view.id)).delivered
            app.hooks.tell("archive.safe")
            assert await receiver.names(2) == ["ping", "archive.safe"]
            await app.control.webhooks.remove(view.id)
            with pytest.raises(NotFoundError):
                await app.control.webhooks.test(view.id)
        async with running_app(tmp_path) as app:
            assert app.control.webhooks.list() == []
        assert receiver.faults == []


async def test_a_secret_is_made_where_none_is_given(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        made = await app.control.webhooks.add(NewWebhook(url="https://hooks.example/x", events=["ping", "ping"]))
        assert len(made.secret) > 25
        assert made.events == ["ping"]
        told = await app.control.webhooks.test(made.id)
        assert not told.delivered
        assert "hooks.example" in told.words


@pytest.mark.parametrize("url", ["ftp://host/x", "http://", "hooks", "file:///etc/passwd", "http://host:0x50/"])
async def test_an_address_that_cannot_be_is_refused(url: str, tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        with pytest.raises(InvalidError, match="url"):
            await app.control.webhooks.add(NewWebhook(url=url))
        with pytest.raises(NotFoundError, match="none"):
            await app.control.webhooks.add(NewWebhook(url="http://host/", channel="none"))


async def test_a_channels_webhooks_go_with_it(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        await app.control.create_channel(NewChannel(name="talk"))
        await app.control.webhooks.add(NewWebhook(url="http://host/", channel="talk"))
        kept = await app.control.webhooks.add(NewWebhook(url="http://host/"))
        await app.control.delete_channel("talk")
        assert [view.id for view in app.control.webhooks.list()] == [kept.id]
        assert list(app.hooks.stats()) == [kept.id]
