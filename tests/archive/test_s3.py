"""S3 against a real server: buckets, credentials and clocks as they are in the field; and stores of an older kind."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.archive import objects, s3
from relay.archive.s3 import S3Store
from relay.archive.store import check, make_store
from relay.config import Settings, load_settings
from relay.errors import ConfigError, StoreError
from tests.support.old_store import serve_old
from tests.support.process import Processes, free_port
from tests.support.s3 import S3Server, serve
from tests.support.tls import make_certificates

LARGE = bytes(range(256)) * (s3.MULTIPART_OVER_BYTES // 256 + 12_345)


def settings_of(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in server.settings.items():
        monkeypatch.setenv(f"RELAY_{name}", value)
    return load_settings()


@pytest.fixture
async def server(processes: Processes, tmp_path: Path) -> AsyncIterator[S3Server]:
    async with serve(processes, tmp_path) as server:
        yield server


def uploads(server: S3Server) -> list[str]:
    """Keys of what is being uploaded in parts, in the whole bucket."""
    answer = server.client().list_multipart_uploads(Bucket=server.bucket)
    return [item["Key"] for item in answer.get("Uploads", ())]


async def test_errors_name_what_to_do(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    right = settings_of(server, monkeypatch)

    async def failure(settings: Settings) -> StoreError:
        with pytest.raises(StoreError) as failed:
            await asyncio.to_thread(check, make_store(settings))
        return failed.value

    def changed(**archive: str) -> Settings:
        return right.model_copy(update={"archive": right.archive.model_copy(update=archive)})

    missing = await failure(changed(store="s3://no-such-bucket/x"))
    assert missing.kind == "NoSuchBucket"
    assert "no-such-bucket does not exist; create it, or correct RELAY_ARCHIVE__STORE" in str(missing)
    wrong = f"http://127.0.0.1:{free_port()}"
    unreachable = await failure(changed(s3_endpoint=wrong))
    assert (unreachable.kind, unreachable.transient) == ("network", True)
    assert f"RELAY_ARCHIVE__S3_ENDPOINT={wrong}" in str(unreachable)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    refused = await failure(right)
    assert refused.kind == "SignatureDoesNotMatch"
    assert "check the AWS credentials" in str(refused)
    assert "wrong" not in str(refused)
    for name in server.credentials:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    none = await failure(right)
    assert none.kind == "credentials"
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(none)


def test_an_endpoint_that_is_none_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_ARCHIVE__STORE", "s3://bucket")
    monkeypatch.setenv("RELAY_ARCHIVE__S3_ENDPOINT", "not an address")
    with pytest.raises(ConfigError, match="s3://bucket"):
        make_store(load_settings())


async def test_large_objects_go_up_in_parts(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(settings_of(server, monkeypatch))

    def use() -> None:
        store.put("talk/r1/000000.raw.flv", LARGE, "video/x-flv", replace=False)
        assert store.holds("talk/r1/000000.raw.flv", LARGE)
        assert not store.holds("talk/r1/000000.raw.flv", LARGE[:-1] + b"!")
        store.put("talk/r1/000000.raw.flv", b"!" + LARGE[1:], "video/x-flv", replace=False)
        assert store.get("talk/r1/000000.raw.flv") == LARGE, "what is there stays"

    await asyncio.to_thread(use)
    found = server.client().head_object(Bucket=server.bucket, Key=f"{server.prefix}/talk/r1/000000.raw.flv")
    assert found["ETag"].strip('"').endswith("-3")
    assert uploads(server) == []


async def test_an_upload_that_breaks_off_leaves_nothing(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(settings_of(server, monkeypatch))
    assert isinstance(store, S3Store)
    await asyncio.to_thread(check, store)
    real, parts = store._call, 0

    def breaking(method: str, key: str, **arguments: object) -> object:
        nonlocal parts
        parts += method == "upload_part"
        if method == "upload_part" and parts == 2:
            raise StoreError("the line is cut", "network")
        return real(method, key, **arguments)

    monkeypatch.setattr(store, "_call", breaking)
    with pytest.raises(StoreError, match="the line is cut"):
        await asyncio.to_thread(store.put, "talk/r1/000000.raw.flv", LARGE, "video/x-flv")
    assert parts == 2
    assert uploads(server) == []
    assert server.keys() == []


async def test_only_old_uploads_below_the_prefix_are_cleaned_up(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(settings_of(server, monkeypatch))
    client = server.client()
    for key in (f"{server.prefix}/talk/r1/a", f"{server.prefix}/talk/r1/b", "another-relay/talk/r1/c"):
        client.create_multipart_upload(Bucket=server.bucket, Key=key)
    assert await asyncio.to_thread(store.clean_up) == 0
    assert len(uploads(server)) == 3, "they may be another relay's, under way"
    monkeypatch.setattr(s3, "ORPHANED_AFTER_S", -5.0)
    assert await asyncio.to_thread(store.clean_up) == 2
    assert uploads(server) == ["another-relay/talk/r1/c"]
    assert objects.ORPHANED_AFTER_S >= 86400


async def test_rotated_credentials_are_read_again(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"

    def write() -> None:
        lines = [f"{name.lower()} = {value}" for name, value in server.credentials.items()]
        file.write_text("\n".join(["[default]", *lines, ""]))

    write()
    settings = settings_of(server, monkeypatch)
    for name in server.credentials:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    store = make_store(settings)
    await asyncio.to_thread(store.put, "talk/r1/a", b"before", "text/plain")
    server.kill()
    server.access_key, server.secret_key = "rotated", "another-secret-of-forty-characters-or-so"
    await server.start()
    with pytest.raises(StoreError) as refused:
        await asyncio.to_thread(store.put, "talk/r1/b", b"meanwhile", "text/plain")
    assert refused.value.kind in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied")
    write()
    monkeypatch.setattr(s3, "RENEW_EVERY_S", 0.0)
    await asyncio.to_thread(store.put, "talk/r1/b", b"after", "text/plain")
    assert server.object("talk/r1/b") == b"after"


@pytest.mark.parametrize("off", ["+40m", "-3h"])
async def test_a_wrong_clock_is_corrected_from_the_store(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, processes: Processes, off: str
) -> None:
    settings_of(server, monkeypatch)
    words = ("faketime", "-f", off, sys.executable, "-m", "tests.support.skewed_store")
    env = {**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    process = processes.start(*words, name="skewed", env=env)
    await process.done(60)
    seen, held = process.output.read_text("utf-8").split()[-2:]
    assert held == "True"
    assert abs(float(seen) - time.time()) > 2000, "its clock was wrong"
    assert "clock is off" in process.text()
    assert server.object("skewed/object") == b"whenever"
    # The server does mind: without the correction it refuses.
    plain = "from relay.archive import s3; s3.CLOCK_OFF_S = 1e9; import tests.support.skewed_store as it; it.main()"
    refused = processes.start("faketime", "-f", off, sys.executable, "-c", plain, name="refused", env=env)
    assert await refused.wait(60) != 0
    assert "RequestTimeTooSkewed" in refused.text()


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_store_of_an_older_kind_gets_no_trailers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refuses: bool
) -> None:
    certificates = make_certificates(tmp_path / "tls")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.authority))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "anything")
    async with serve_old(certificates.server_context(), refuses=refuses) as old:
        monkeypatch.setenv("RELAY_ARCHIVE__STORE", "s3://bucket/archive")
        monkeypatch.setenv("RELAY_ARCHIVE__S3_ENDPOINT", old.endpoint)
        monkeypatch.setenv("RELAY_ARCHIVE__S3_REGION", "us-east-1")
        monkeypatch.setenv("RELAY_ARCHIVE__S3_PATH_STYLE", "true")
        store = make_store(load_settings())
        assert isinstance(store, S3Store)
        assert store.checksums == "when_supported"
        await asyncio.to_thread(store.put, "talk/r1/a", b"one", "text/plain", replace=False)
        assert store.checksums == "when_required"
        assert (old.framed, old.proven) == (1, 2), "one test with a trailer, one without, then the object"
        assert old.objects == {"/bucket/archive/talk/r1/a": b"one"}
        assert await asyncio.to_thread(store.holds, "talk/r1/a", b"one")
        await asyncio.to_thread(store.put, "talk/r1/b", b"two", "text/plain")
        assert (old.framed, old.proven) == (1, 3)


async def test_a_store_that_knows_trailers_keeps_getting_them(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(settings_of(server, monkeypatch))
    assert isinstance(store, S3Store)
    await asyncio.to_thread(store.put, "talk/r1/a", b"one", "text/plain")
    assert store.checksums == "when_supported"
