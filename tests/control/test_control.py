"""Control: what an operator changes is changed everywhere, survives a restart, and fails as a whole or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.app import App
from relay.control import models
from relay.errors import ConflictError, InvalidError, NotFoundError
from relay.hub import StreamState
from tests.support.app import running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher


def destination(name: str, port: int = 9, **more: object) -> models.NewDestination:
    return models.NewDestination.model_validate(
        {"name": name, "url": f"rtmp://127.0.0.1:{port}/app", "key": "k", **more}
    )


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        wanted = models.NewChannel(name="rally", destinations=[destination("b"), destination("a", enabled=False)])
        made = await app.control.create_channel(wanted)
        await app.control.delete_channel("demo")
    async with running_app(tmp_path) as app:
        assert list(app.control.channel_names) == ["rally"]
        again = app.control.channel("rally")
        assert (again.stream_key, again.read_key) == (made.stream_key, made.read_key)
        assert [(item.name, item.state) for item in again.destinations] == [("b", "idle"), ("a", "disabled")]
        assert app.admission.admit_publish(made.stream_key, "192.0.2.1") == "rally"


async def test_a_first_start_makes_a_channel_and_a_second_does_not(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        assert list(app.control.channel_names) == ["demo"]
        key = app.control.channel("demo").stream_key
    async with running_app(tmp_path) as app:
        assert [(view.name, view.stream_key) for view in app.control.channels()] == [("demo", key)]


async def test_deleting_a_live_channel_ends_its_stream(tmp_path: Path) -> None:
    clip = await asyncio.to_thread(make, H264)
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        key = app.control.channel("demo").stream_key
        publisher = Publisher(f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{key}")
        await publisher.open()
        await publisher.send(clip, speed=None, until_ms=200)
        await asyncio.sleep(0.3)
        stream = app.hub.stream("demo")
        assert stream.state is StreamState.LIVE
        await app.control.delete_channel("demo")
        assert stream.state is StreamState.OFFLINE
        await asyncio.sleep(0.2)
        assert publisher.ended is not None
        assert "closed" in publisher.ended
        await publisher.abort()


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        yield app


async def test_conflicts_and_absences_change_nothing(app: App) -> None:
    before = app.control.channels()
    with pytest.raises(ConflictError):
        await app.control.create_channel(models.NewChannel(name="demo"))
    for attempt in (
        app.control.delete_channel("nope"),
        app.control.rotate_key("nope"),
        app.control.remove_destination("demo", "nope"),
        app.control.change_destination("demo", "nope", models.DestinationChange(enabled=True)),
    ):
        with pytest.raises(NotFoundError, match="nope"):
            await attempt
    await app.control.add_destination("demo", destination("a"))
    with pytest.raises(ConflictError):
        await app.control.add_destination("demo", destination("a"))
    await app.control.remove_destination("demo", "a")
    assert app.control.channels() == before


async def test_another_channels_key_cannot_be_taken(app: App) -> None:
    await app.control.create_channel(models.NewChannel(name="rally", stream_key="k" * 30))
    with pytest.raises(ConflictError):
        await app.control.change_channel("demo", models.ChannelChange(stream_key="k" * 30))
    assert app.admission.admit_publish("k" * 30, "192.0.2.1") == "rally"


async def test_a_platform_brings_its_address_and_says_what_it_needs(app: App) -> None:
    view = await app.control.add_destination(
        "demo", models.NewDestination(name="yt", platform="youtube", key="abcd", enabled=False)
    )
    assert view.url.startswith("rtmps://a.rtmps.youtube.com")
    with pytest.raises(InvalidError, match="needs a stream key"):
        await app.control.add_destination("demo", models.NewDestination(name="fb", platform="facebook"))
    with pytest.raises(InvalidError, match="add the URL"):
        await app.control.change_destination("demo", "yt", models.DestinationChange(platform="kick"))


async def test_apply_changes_only_what_differs(app: App) -> None:
    document = models.Document.model_validate(
        {
            "channels": [
                {"name": "demo", "destinations": [{"name": "a", "url": "rtmp://h.example/a", "key": "k"}]},
                {"name": "new"},
            ]
        }
    )
    assert len((await app.control.apply(document)).changes) == 2
    assert (await app.control.apply(document)).changes == []
    pruned = models.Document(channels=[models.NewChannel(name="new")], prune=True)
    assert (await app.control.apply(pruned)).changes == ["channel demo deleted"]


async def test_a_change_that_fails_in_part_changes_nothing(app: App) -> None:
    before = app.control.channels()
    twice = [destination("a"), destination("a")]
    with pytest.raises(InvalidError, match="same name"):
        await app.control.change_channel("demo", models.ChannelChange(stream_key="k" * 30, destinations=twice))
    key = "k" * 30
    clashes = [
        [models.NewChannel(name="one", stream_key=key), models.NewChannel(name="two", stream_key=key)],
        [models.NewChannel(name="one"), models.NewChannel(name="two", stream_key=before[0].stream_key)],
        [models.NewChannel(name="one"), models.NewChannel(name="two", destinations=twice)],
    ]
    for channels in clashes:
        with pytest.raises((ConflictError, InvalidError)):
            await app.control.apply(models.Document(channels=channels))
    assert app.control.channels() == before
    assert await app.database.channels.all() == list(app.control._rows.values())


async def test_no_key_opens_two_things(app: App) -> None:
    read_key = app.control.channel("demo").read_key
    for attempt in (
        app.control.change_channel("demo", models.ChannelChange(stream_key=read_key)),
        app.control.create_channel(models.NewChannel(name="rally", stream_key=read_key)),
    ):
        with pytest.raises(ConflictError, match="in use"):
            await attempt


async def test_a_key_given_in_the_url_is_kept_as_a_key(app: App) -> None:
    """Not in the clear in the database; a new URL brings a new key along."""
    whole = models.NewDestination(name="d", url="rtmp://h.example/app/first-key?token=abc", enabled=False)
    view = await app.control.add_destination("demo", whole)
    assert view.url == "rtmp://h.example/app"

    async def stored() -> tuple[str, str]:
        (row,) = (await app.database.channels.all())[0].destinations
        return row.url, row.key.reveal()

    assert await stored() == ("rtmp://h.example/app", "first-key?token=abc")
    change = models.DestinationChange(url="rtmp://h.example/app/second-key")
    await app.control.change_destination("demo", "d", change)
    assert await stored() == ("rtmp://h.example/app", "second-key")
    await app.control.change_destination("demo", "d", models.DestinationChange(enabled=True))
    assert await stored() == ("rtmp://h.example/app", "second-key")
    demo = models.NewChannel(
        name="demo", destinations=[models.NewDestination(name="d", url="rtmp://h.example/app/second-key")]
    )
    assert (await app.control.apply(models.Document(channels=[demo]))).changes == []
    with pytest.raises(InvalidError, match="no stream key"):
        await app.control.add_destination("demo", models.NewDestination(name="e", url="rtmp://h.example/app"))


async def test_changes_asked_for_at_the_same_time_are_made_one_after_the_other(app: App) -> None:
    document = models.Document(channels=[models.NewChannel(name="rally", destinations=[destination("a")])])
    done = await asyncio.gather(*(app.control.apply(document) for _ in range(5)))
    assert sorted(len(item.changes) for item in done) == [0, 0, 0, 0, 1]


async def test_who_may_watch_is_kept_applied_and_only_changed_where_it_is_said(tmp_path: Path) -> None:
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        assert app.control.channel("demo").viewers == "signed"
        changed = await app.control.change_channel("demo", models.ChannelChange(viewers="public"))
        assert (changed.viewers, changed.archive) == ("public", models.ArchiveOptions())
        await app.control.change_channel("demo", models.ChannelChange(archive=models.ArchiveOptions(priority=3)))
        assert app.control.channel("demo").viewers == "public"
        said = models.Document(channels=[models.NewChannel(name="demo", viewers="off"), models.NewChannel(name="two")])
        assert (await app.control.apply(said)).changes == ["channel demo: viewers are off", "channel two created"]
        assert (await app.control.apply(said)).changes == []
        silent = models.Document(channels=[models.NewChannel(name="demo")])
        assert (await app.control.apply(silent)).changes == []
        mark = app.control.viewers("demo")
        assert mark[0] == "off"
        assert app.control.viewers("none") == ("off", None)
        await app.control.rotate_key("demo")
        assert app.control.viewers("demo")[1] is not mark[1]
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        assert (app.control.channel("demo").viewers, app.control.channel("demo").archive.priority) == ("off", 3)
