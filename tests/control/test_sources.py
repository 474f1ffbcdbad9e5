"""Sources: set, changed and removed while the relay runs; secrets stored encrypted and shown by name only."""

import asyncio
import sqlite3
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from relay.control import models
from relay.control.sources import sealed, source_of
from relay.database import ChannelRow
from relay.secret import Secret
from tests.support.app import browsing, running_app
from tests.support.process import free_port

TOKEN = "very-secret-token"


def options(**values: object) -> models.SourceOptions:
    return models.SourceOptions.model_validate({"url": f"http://127.0.0.1:{free_port()}/a.m3u8?t={TOKEN}", **values})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"url": "file:///etc/passwd"}, "must begin with http"),
        ({"url": "ftp://h/a"}, "must begin with http"),
        ({"url": "http://"}, "name a host"),
        ({"url": "http://h:99999/"}, "not a URL"),
        ({"url": "http://h/a b"}, "without spaces|pattern"),
        ({"url": "http://h/a\r\nX: y"}, "without spaces|pattern"),
        ({"url": "rtmp://h/app"}, "names no stream"),
        ({"url": "rtmp://h/app/name", "headers": {"A": "b"}}, "http and https only"),
        ({"url": "http://u:p@h/a", "headers": {"authorization": "b"}}, "not both"),
        ({"url": "http://h/a", "headers": {"Host": "x"}}, "relay's own"),
        ({"url": "http://h/a", "headers": {"Content-Length": "1"}}, "relay's own"),
        ({"url": "http://h/a", "headers": {"A B": "x"}}, "pattern"),
        ({"url": "http://h/a", "headers": {"A": "x\r\nB: y"}}, "pattern"),
        ({"url": "http://h/a", "max_kbps": -1}, "greater"),
    ],
)
def test_what_is_no_source(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        models.SourceOptions.model_validate(values)


def test_a_stored_source_is_what_was_written() -> None:
    row = ChannelRow(
        name="a",
        created_at=0,
        stream_key=Secret("s"),
        read_key=Secret("r"),
        options={},
        source=sealed(options(url="https://h/a", headers={"X-Key": "v"}, max_kbps=5)),
    )
    found = source_of(row)
    assert found is not None
    assert (found.url, found.headers, found.max_kbps) == (Secret("https://h/a"), (("X-Key", Secret("v")),), 5)
    assert not sealed(None)


async def test_a_source_survives_a_restart_and_its_secrets_show_nowhere(tmp_path: Path) -> None:
    wanted = options(headers={"Authorization": f"Bearer {TOKEN}"}, max_kbps=3000)
    async with running_app(tmp_path, archive={"store": "off"}) as app, browsing(app) as browser:
        status, _, _ = await browser.ask(
            "PATCH", "/api/v1/channels/demo", json={"source": wanted.model_dump(mode="json")}
        )
        assert status == 200
    async with running_app(tmp_path, archive={"store": "off"}) as app, browsing(app) as browser:
        for _ in range(200):
            _, channel, answer = await browser.ask("GET", "/api/v1/channels/demo")
            if channel["source"]["state"] == "retrying":
                break
            await asyncio.sleep(0.05)
        assert TOKEN not in await answer.text()
        source = channel["source"]
        assert (source["url"].partition("?")[2], source["headers"]) == ("********", ["Authorization"])
        assert (source["max_kbps"], source["state"]) == (3000, "retrying")
        assert "cannot connect to 127.0.0.1" in source["last_error"]
        _, metrics, _ = await browser.ask("GET", "/metrics")
        assert 'relay_source_up{channel="demo"} 0.0' in metrics
        assert 'relay_source_attempts_total{channel="demo",outcome="connect"}' in metrics
        _, page, _ = await browser.ask("GET", "/")
        assert TOKEN not in page
        # Something else changes, and the source stays.
        await app.control.change_channel("demo", models.ChannelChange(archive=models.ArchiveOptions(priority=3)))
        assert app.control.channel("demo").source is not None
        gone = await app.control.change_channel("demo", models.ChannelChange(source=None))
        assert gone.source is None
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("*.db*"))
    assert stored
    assert TOKEN.encode() not in stored
    with sqlite3.connect(next(tmp_path.glob("*.db"))) as database:
        (kept,) = database.execute("select options from channels where name = 'demo'").fetchone()
    database.close()
    assert "source" not in kept


async def test_apply_sets_changes_and_removes(tmp_path: Path) -> None:
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        text = f'[[channels]]\nname = "demo"\nsource = {{ url = "http://127.0.0.1:{free_port()}/a", max_kbps = 5 }}\n'
        document = models.Document.model_validate(tomllib.loads(text))
        assert (await app.control.apply(document)).changes == ["channel demo: source changed"]
        assert (await app.control.apply(document)).changes == []
        fresh = models.Document.model_validate(tomllib.loads(text.replace("demo", "other")))
        assert (await app.control.apply(fresh)).changes == ["channel other created"]
        assert app.control.channel("other").source is not None
        bare = models.Document(channels=[models.NewChannel(name="demo")])
        assert (await app.control.apply(bare)).changes == ["channel demo: source changed"]
        assert app.control.channel("demo").source is None
        await app.control.delete_channel("other")
        assert app.pulls.status("other") is None
