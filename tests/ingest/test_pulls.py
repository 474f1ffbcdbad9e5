"""Pulls: nothing runs before start, what runs is what is configured, and close ends it in time."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from relay.config import Settings
from relay.hub import Hub, StreamState, Ticker
from relay.hub.batch import Note
from relay.ingest.demux import Demuxer
from relay.ingest.pulls import Pulls
from relay.ingest.source import Around, SourceConfig, SourceState
from relay.media import Packet
from relay.outbound.dial import shared_tls
from relay.secret import Secret
from tests.egress import servers
from tests.ingest.pulling import until


async def no_notes(channel: str) -> Sequence[Note]:
    return ()


async def no_place(channel: str, packets: Sequence[Packet], note: str) -> bool:
    return False


def make(tmp_path: Path) -> tuple[Pulls, Hub]:
    settings = Settings.model_validate({"data_dir": tmp_path, "outbound": {"allow_private": True}})
    hub = Hub()
    ticker = Ticker(asyncio.get_running_loop(), 100)
    around = Around(
        hub, settings, ticker, shared_tls(settings), Counter(), Demuxer(settings.limits), no_notes, no_place
    )
    return Pulls(around), hub


async def test_a_source_waits_for_the_start_and_ends_with_the_close(tmp_path: Path) -> None:
    pulls, hub = make(tmp_path)
    dialled = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        await reader.read()

    async with servers.server(converse) as url:
        config = SourceConfig(Secret(f"{url}/name"))
        pulls.configure("a", config)
        await asyncio.sleep(0.1)
        status = pulls.status("a")
        assert status is not None
        assert (dialled, status.state, status.attempts) == (0, SourceState.IDLE, 0)
        pulls.start()
        await until(lambda: dialled == 1, "dialled")
        pulls.configure("a", config)
        pulls.configure("a", SourceConfig(Secret(f"{url}/other")))
        await until(lambda: dialled == 2, "dialled again, for the change")
        await pulls.close()
        pulls.configure("b", config)
        await asyncio.sleep(0.1)
        assert dialled == 2
    assert hub.stream("a").state is StreamState.OFFLINE
    assert pulls.status("c") is None
