"""Fetching: bounded, by policy, credentials to their own host only, and every refusal in words without secrets."""

import asyncio
import gzip
import os
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from relay.config import Settings
from relay.errors import AddressError, DestinationError, DestinationRejectedError, ProtocolError
from relay.ingest.hls_fetch import Fetched, Fetcher, GoneError, decrypted
from relay.ingest.source import SourceConfig
from relay.outbound.dial import shared_tls
from relay.protocol.m3u8_lines import ByteRange
from relay.secret import Secret
from tests.support.origin import Answer, Origin, compressed, endless, origin, status
from tests.support.tls import make_certificates

TOKEN = "SECRETTOKEN"


@pytest.fixture
async def site() -> AsyncIterator[Origin]:
    async with origin() as made:
        yield made


def fetcher(
    url: str, headers: tuple[tuple[str, Secret], ...] = (), counted: list[int] | None = None, **settings: Any
) -> Fetcher:
    made = Settings.model_validate({"outbound": {"allow_private": True}, **settings})
    count = [] if counted is None else counted
    return Fetcher(SourceConfig(Secret(url), headers), made, shared_tls(made), count.append)


async def get(site: Origin, path: str, most: int = 1000, within_s: float = 5.0, **more: Any) -> Fetched | None:
    async with fetcher(site.url) as client:
        return await client.get(f"{site.url}{path}", most, within_s, **more)


async def test_a_file_and_a_part_of_it(site: Origin) -> None:
    site.files["/a"] = bytes(range(200))
    counted: list[int] = []
    async with fetcher(site.url, counted=counted) as client:
        whole = await client.get(f"{site.url}/a", 1000, 5)
        assert whole is not None
        assert whole.data == bytes(range(200))
        part = await client.get(f"{site.url}/a", 1000, 5, byte_range=ByteRange(50, 20))
        assert part is not None
        assert part.data == bytes(range(50, 70))
    assert sum(counted) == 220
    assert site.asked[0].headers["Accept-Encoding"] == "identity"


async def test_a_server_without_ranges_is_read_up_to_the_range(site: Origin) -> None:
    async def whole(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(range(200)) * 10)

    site.files["/a"] = whole
    found = await get(site, "/a", byte_range=ByteRange(100, 10))
    assert found is not None
    assert found.data == bytes(range(100, 110))
    with pytest.raises(DestinationError, match="more than 1000 bytes"):
        await get(site, "/a", byte_range=ByteRange(1500, 10))
    with pytest.raises(DestinationError, match="less than the byte range"):
        await get(site, "/a", 10_000, byte_range=ByteRange(1995, 10))


async def test_what_has_not_changed_is_not_sent_again(site: Origin) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"ETag": '"1"', "Last-Modified": "Wed, 01 May 2024 00:00:00 GMT"}
        return web.Response(status=304 if request.headers.get("If-None-Match") == '"1"' else 200, headers=headers)

    site.files["/a"] = answer
    async with fetcher(site.url) as client:
        first = await client.get(f"{site.url}/a", 1000, 5)
        assert first is not None
        assert first.validators == {"If-None-Match": '"1"', "If-Modified-Since": "Wed, 01 May 2024 00:00:00 GMT"}
        assert await client.get(f"{site.url}/a", 1000, 5, validators=first.validators) is None


async def test_credentials_go_to_the_sources_own_host_only(site: Origin) -> None:
    async with origin() as other:
        site.files["/a"] = other.files["/a"] = b"x"
        site.files["/away"] = status(302, Location=f"{other.url}/a?t={TOKEN}")
        limits = {"hls_redirects": 1}
        async with fetcher(site.url, (("Authorization", Secret(TOKEN)),), limits=limits) as client:
            for url in (f"{site.url}/a", f"{other.url}/a", f"{site.url}/away"):
                assert await client.get(url, 1000, 5) is not None
        assert [item.headers.get("Authorization") for item in site.asked] == [TOKEN, TOKEN]
        assert [item.headers.get("Authorization") for item in other.asked] == [None, None]
    async with fetcher(f"http://me:{TOKEN}@127.0.0.1:{site.port}/") as client:
        await client.get(f"http://me:{TOKEN}@127.0.0.1:{site.port}/a", 1000, 5)
    assert site.asked[-1].headers["Authorization"].startswith("Basic ")


async def test_a_signed_url_is_sent_as_it_is_written(site: Origin) -> None:
    site.files["/a"] = b"x"
    await get(site, "/a?s=a%2Cb%7E%2f+c&t=%41")
    assert site.asked[0].query == "s=a%2Cb%7E%2f+c&t=%41"


@pytest.mark.parametrize(
    ("answer", "words", "kind"),
    [
        (status(404), "answers 404", GoneError),
        (status(410), "answers 410", GoneError),
        (status(401), "answers 401; check", DestinationRejectedError),
        (status(403), "answers 403; check", DestinationRejectedError),
        (status(503), "answers 503", DestinationError),
        (status(304), "answers 304", DestinationError),
        (status(206), "answers 206", DestinationError),
        (status(302, Location="/b"), "answers with a redirect", DestinationError),
        (status(302, Location="file:///etc/passwd"), "not fetched", DestinationError),
        (status(302), "not fetched", DestinationError),
        (compressed(gzip.compress(bytes(100_000_000))), "compressed", DestinationError),
        (compressed(b"x", "br"), "compressed", DestinationError),
        (endless(bytes(65536), 0), "more than 1000 bytes", DestinationError),
        (endless(b"x", 0.05), "more than 1000 bytes", DestinationError),  # it says so beforehand
    ],
)
async def test_answers_that_are_refused(site: Origin, answer: Answer, words: str, kind: type[DestinationError]) -> None:
    site.files["/a"] = answer
    with pytest.raises(kind, match=words) as caught:
        await get(site, f"/a?token={TOKEN}")
    assert TOKEN not in str(caught.value)
    assert "/b" not in site.paths()


async def test_a_body_that_trickles_or_stops_is_given_up(site: Origin) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 900
        await response.prepare(request)
        for _ in range(900):
            await response.write(b"x")
            await asyncio.sleep(0.05)
        return response

    async def stop(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 900
        await response.prepare(request)
        await asyncio.sleep(30)
        return response

    site.files |= {"/trickle": trickle, "/stop": stop}
    before = time.monotonic()
    with pytest.raises(DestinationError, match=r"not to the end, within 1 s"):
        await get(site, "/trickle", within_s=1.0)
    with pytest.raises(DestinationError, match="did not answer"):
        await get(site, "/stop", within_s=20.0, silence_s=0.5)
    assert time.monotonic() - before < 10


async def test_redirects_are_followed_as_far_as_allowed_and_checked_each(site: Origin) -> None:
    site.files |= {
        "/1": status(301, Location="/2"),
        "/2": status(307, Location=f"{site.url}/3"),
        "/3": b"there",
        "/loop": status(302, Location="/loop"),
        "/metadata": status(302, Location="http://169.254.169.254/latest/meta-data/"),
    }
    async with fetcher(site.url, limits={"hls_redirects": 2}) as client:
        found = await client.get(f"{site.url}/1", 1000, 5)
        assert found is not None
        assert (found.data, found.url) == (b"there", f"{site.url}/3")
        with pytest.raises(DestinationError, match="redirect"):
            await client.get(f"{site.url}/loop", 1000, 5)
    assert site.paths().count("/loop") == 3


async def test_the_outbound_policy_holds_for_names_literals_and_redirects(site: Origin) -> None:
    site.files["/a"] = b"x"
    for url in (site.url, site.url.replace("127.0.0.1", "localhost"), "http://169.254.169.254", "http://[::1]:9"):
        made = Settings()
        async with Fetcher(SourceConfig(Secret(url)), made, shared_tls(made), lambda _: None) as client:
            with pytest.raises(AddressError, match=r"does not dial|never dials"):
                await client.get(f"{url}/a", 1000, 5)
    assert site.asked == []


async def test_certificates_are_checked(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.certificate, certificates.key)
    async with origin(tls) as site:
        site.files["/a"] = b"x"
        url = site.url.replace("127.0.0.1", "localhost")
        async with fetcher(url, outbound={"allow_private": True, "ca_file": certificates.authority}) as client:
            found = await client.get(f"{url}/a", 1000, 5)
            assert found is not None
        async with fetcher(url) as client:
            with pytest.raises(DestinationError, match="certificate of localhost:"):
                await client.get(f"{url}/a", 1000, 5)


async def test_nobody_there() -> None:
    async with origin() as site:
        url = site.url
    async with fetcher(url) as client:
        with pytest.raises(DestinationError, match=r"cannot connect to 127\.0\.0\.1:"):
            await client.get(f"{url}/a?{TOKEN}", 1000, 5)


def encrypted(data: bytes, key: bytes, iv: bytes) -> bytes:
    padding = PKCS7(128).padder()
    worker = Cipher(AES128(key), CBC(iv)).encryptor()
    return worker.update(padding.update(data) + padding.finalize()) + worker.finalize()


def test_decryption_and_what_cannot_be_decrypted() -> None:
    key, iv = os.urandom(16), os.urandom(16)
    for size in (0, 1, 15, 16, 1000):
        data = os.urandom(size)
        assert decrypted(encrypted(data, key, iv), key, iv) == data
    for wrong in (b"", b"x" * 15, b"x" * 32):
        with pytest.raises(ProtocolError, match=f"the key has {len(wrong)} bytes"):
            decrypted(b"x" * 16, wrong, iv)
    for broken in (b"", b"x", bytes(16)):
        with pytest.raises(ProtocolError, match="cannot be decrypted"):
            decrypted(broken, key, iv)
