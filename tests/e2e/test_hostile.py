"""Hostile servers, each kind once: every attempt ends in time, under the right name, in words that say why."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from yarl import URL

from relay.config import Settings
from relay.egress.base import DestinationConfig, DestinationTotals, Owner
from relay.egress.hls_upload import upload
from relay.egress.rtmp import RtmpAttempt
from relay.errors import DestinationError
from relay.hooks.hooks import Hooks
from relay.hooks.sender import Hook
from relay.hub import Stream
from relay.ingest.hls_fetch import Fetcher
from relay.ingest.source import SourceConfig
from relay.outbound.dial import TlsContext, shared_tls
from relay.outbound.http import http_session
from relay.secret import Secret
from tests.egress.fitting import on_air
from tests.egress.media import packets_of
from tests.support import clips
from tests.support.hostile import KINDS, Hostile
from tests.support.hostile_http import HTTP_KINDS
from tests.support.tls import hostile_contexts

LIMITS = {"dial_s": 2.0, "write_stall_s": 3.0}


class Case(NamedTuple):
    """What a test of all kinds at once has in hand."""

    settings: Settings
    tls: TlsContext
    contexts: dict[str, ssl.SSLContext]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    contexts, authorities = hostile_contexts(tmp_path / "tls")
    outbound = {"allow_private": True, "ca_file": authorities}
    settings = Settings.model_validate({"outbound": outbound, "limits": LIMITS})
    return Case(settings, shared_tls(settings), contexts)


async def failure(attempt: Awaitable[object]) -> DestinationError:
    """What an attempt fails with, in time."""
    async with asyncio.timeout(60):
        with pytest.raises(DestinationError) as caught:
            await attempt
    return caught.value


async def test_every_kind_of_rtmp_destination(case: Case) -> None:
    stream = Stream("talk")
    owner = Owner(lambda: None, lambda error: None, lambda: False)

    async def one(name: str) -> list[str]:
        kind = KINDS[name]
        async with Hostile(kind, case.contexts) as server:
            url, key = server.url, Secret("a-stream-key")
            config = DestinationConfig(name="hostile", kind="rtmp", platform="custom", url=url, key=key)
            attempt = RtmpAttempt(config, stream, case.settings, DestinationTotals(), owner, case.tls)
            error = await failure(attempt.run())
            assert attempt.subscription is None
        told = str(error)
        wrong = [] if error.outcome in kind.outcomes else [f"{name}: {error.outcome}, not {set(kind.outcomes)}: {told}"]
        if kind.words not in told or not told.isprintable() or len(told) > 700:
            wrong.append(f"{name}: {told!r}, without {kind.words!r}")
        return wrong

    async with on_air(stream, packets_of(clips.make(clips.LOAD))):
        found = await asyncio.gather(*(one(name) for name in KINDS))
    wrong = [text for texts in found for text in texts]
    assert not wrong, "\n".join(wrong)


async def test_every_kind_of_http_server(case: Case) -> None:
    """Pulled from, pushed to and told an event."""
    settings, hooks = case.settings, Hooks(case.settings, attempt_s=4.0)

    async def pull(url: str) -> None:
        async with Fetcher(SourceConfig(url=Secret(url)), settings, case.tls, lambda count: None) as fetcher:
            await fetcher.get(url, 256 * 1024, 4.0)

    async def push(url: str) -> None:
        async with http_session(settings) as session:
            await upload(session, "PUT", URL(url), bytes(100_000), 4.0)

    async def tell(url: str) -> None:
        await hooks.test(Hook(id="h", url=Secret(url), secret=Secret("s")))

    async def one(name: str, act: Callable[[str], Awaitable[None]]) -> str:
        kind = HTTP_KINDS[name]
        async with Hostile(kind) as server:
            url = f"http://127.0.0.1:{server.port}/live/index.m3u8"
            try:
                async with asyncio.timeout(30):
                    await act(url)
            except DestinationError as error:
                good = re.search(kind.words or "sends more than|compressed|exchange with|did not answer", str(error))
                return "" if good else f"{name}, {act.__name__}: {error}, without {kind.words}"
        # What comes behind a 200 is of no interest to whoever pushes, and is not read.
        return "" if act is not pull and not kind.words else f"{name}, {act.__name__}: succeeded"

    found = await asyncio.gather(*(one(name, act) for name in HTTP_KINDS for act in (pull, push, tell)))
    await hooks.close()
    wrong = [text for text in found if text]
    assert not wrong, "\n".join(wrong)
