"""A relay starts on a spool of gigabytes: it listens at once, works the backlog off in bounded memory, loses none."""

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from relay.archive.spool import CLOSED_SUFFIX, OPEN_SUFFIX, PartInfo, commit_tag, part_header
from relay.media import Packet
from relay.protocol.flv import encode_batch
from tests.archive.media import batches, read_packets
from tests.chaos.bench import Bench
from tests.support import clips
from tests.support.acknowledged import compare, try_to_open
from tests.support.process import free_port
from tests.support.recording import read_folder
from tests.support.relay import COMMAND, Relay

LISTENS_S = 2.0
MEMORY = 150 * 1024 * 1024
PART_MS = 6000
COMMIT_MS = 250
CHANNELS = 8


@dataclass(frozen=True)
class _Media:
    """Six seconds of a stream: the runs between two commits, as encoded, with their packets' count and last DTS."""

    packets: list[Packet]
    runs: list[tuple[bytes, int, int]]

    @classmethod
    def of(cls, clip: Path) -> "_Media":
        packets = [packet for packet in read_packets(clip) if packet.dts_ms < PART_MS]
        runs = [
            (encode_batch(run, (run[0].track, run[0].track), 0), len(run), run[-1].dts_ms)
            for run in batches(packets, COMMIT_MS)
        ]
        return cls(packets, runs)


def _write_part(folder: Path, media: _Media, number: int, started_at: float, *, is_open: bool) -> int:
    """Part ``number`` of the recording ``folder`` is named after, as the recorder leaves it; its size in bytes."""
    at_ms = number * PART_MS
    info = PartInfo(
        recording=folder.name, channel=folder.parent.name, seq=number, base_ms=at_ms, start_ms=at_ms,
        recording_base_ms=0, first_seq=1 + number * len(media.packets), started_at=started_at + at_ms / 1000,
        recording_started_at=started_at,
    )  # fmt: skip
    video = next(packet.track for packet in media.packets if packet.is_video)
    audio = next(packet.track for packet in media.packets if not packet.is_video)
    data, before, packets = bytearray(), 0, 0
    for run, count, last_ms in media.runs:
        data += run if data else part_header(info, (video, audio)) + run
        packets += count
        seq = info.first_seq + packets - 1
        data += commit_tag(bytes(data[before:]), offset=len(data), seq=seq, packets=packets, timestamp=last_ms)
        before = len(data)
    (folder / f"{number:06d}{OPEN_SUFFIX if is_open else CLOSED_SUFFIX}").write_bytes(data)
    return len(data)


class _Backlog:
    """Recordings of some channels in a spool, each of ``parts`` parts, made till there are ``size`` bytes."""

    def __init__(self, spool: Path, media: _Media, parts: int) -> None:
        self.folders: list[Path] = []
        self.parts = parts
        self._spool = spool
        self._media = media

    def grow(self, size: int) -> None:
        while size > 0:
            number = len(self.folders)
            started_at = 1_700_000_000.0 + number * 86_400
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started_at))
            folder = self._spool / f"channel-{number % CHANNELS}" / f"{stamp}-{number:06x}"
            folder.mkdir(parents=True)
            self.folders.append(folder)
            for part in range(self.parts):
                is_open = part == self.parts - 1
                size -= _write_part(folder, self._media, part, started_at, is_open=is_open)

    @property
    def segments(self) -> int:
        return len(self.folders) * self.parts

    def wrong(self, archive: Path) -> list[str]:
        """The recordings that are not in the archive as they were sent."""
        wanted = len(self._media.packets) * self.parts
        found = []
        for folder in self.folders:
            recording = read_folder(archive / folder.parent.name / folder.name)
            is_whole = "#EXT-X-ENDLIST" in recording.playlist and "DISCONTINUITY" not in recording.playlist
            if not is_whole or len(recording.listing().items) != wanted:
                found.append(folder.name)
        return found


async def _listening_s(relay: Relay, url: str) -> float:
    """Start ``relay``; seconds until it has let a publisher in."""
    started = time.monotonic()
    relay.process = relay.processes.start(COMMAND, "serve", name=relay.name, env=relay.env)
    while (publisher := await try_to_open(url)) is None:
        assert relay.process.running, relay.process.tail()
        assert time.monotonic() - started < 60, relay.process.tail()
        await asyncio.sleep(0.02)
    took_s = time.monotonic() - started
    await publisher.close()
    return took_s


async def _stored(relay: Relay, state: str) -> int:
    return int((await relay.metrics()).get(f'relay_archive_segments_total{{state="{state}"}}', 0))


async def _watch_memory(relay: Relay, most: list[int]) -> None:
    while True:
        most[0] = max(most[0], relay.memory())
        await asyncio.sleep(0.05)


async def run(bench: Bench) -> None:
    size = bench.times(5_000_000_000, 200_000_000)
    clip = clips.make(clips.H264)
    data = bench.folder / "data"
    archive = data / "archive"
    backlog = _Backlog(data / "spool", _Media.of(clip), bench.times(100, 20))
    settings = {"ARCHIVE__KEEP_AFTER_UPLOAD_S": 0, "ARCHIVE__RESERVE_PERCENT": 0}

    # A start on nothing is the measure of this machine now. It makes the channel as well.
    relay = Relay(bench.processes, data, **settings)
    await relay.start()
    url = relay.publish_url(await relay.add_channel("live"))
    await relay.stop()
    empty_s = await _listening_s(relay, url)
    await relay.stop()

    # Half of it is packaged by a relay whose store is dead, which then is killed; half of it is parts.
    await asyncio.to_thread(backlog.grow, size // 2)
    dead = {
        "RELAY_ARCHIVE__STORE": "s3://backlog",
        "RELAY_ARCHIVE__S3_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    relay.process = relay.processes.start(COMMAND, "serve", name=relay.name, env={**relay.env, **dead})
    until = time.monotonic() + 1200
    recorded = 0
    while recorded < backlog.segments:
        assert relay.process.running, relay.process.tail()
        assert time.monotonic() < until, relay.process.tail()
        await asyncio.sleep(0.2)
        with contextlib.suppress(OSError):
            recorded = await _stored(relay, "recorded")
    relay.process.kill()
    await asyncio.to_thread(backlog.grow, size - size // 2)
    await asyncio.to_thread(os.sync)  # it has lain there since the last run, and is not still being written

    listening_s = await _listening_s(relay, url)
    most = [0]
    memory = asyncio.create_task(_watch_memory(relay, most))
    live = await try_to_open(url)
    assert live is not None
    stop = asyncio.Event()
    going = asyncio.create_task(live.go_on(clip, stop))
    started = time.monotonic()
    stored = 0
    while stored < backlog.segments:
        assert time.monotonic() < started + 3600, f"{stored} of {backlog.segments} stored\n{relay.log[-4000:]}"
        await asyncio.sleep(0.5)
        stored = await _stored(relay, "stored")
    took_s = time.monotonic() - started
    stop.set()
    await going
    await live.close()
    row = await relay.recording("live", within=120)
    await asyncio.sleep(6)  # the last playlists, a sweep
    memory.cancel()
    wrong = await asyncio.to_thread(backlog.wrong, archive)
    whole = compare([live], (await asyncio.to_thread(read_folder, archive / "live" / row["id"])).listing().items)
    await relay.stop()

    made = f"{size / 1e9:.1f} GB, {backlog.segments} segments in {len(backlog.folders)} recordings"
    bench.figure("backlog", made, "any", True)
    found = f"{listening_s:.2f} s ({empty_s:.2f} s with none)"
    bench.timed("listening after", found, f"≤ {LISTENS_S:.1f} s", listening_s <= LISTENS_S)
    bench.figure("memory", f"{most[0] / 1024**2:.0f} MiB", "≤ 150 MiB", most[0] <= MEMORY)
    bench.figure("worked off at", f"{size / 1e6 / took_s:.0f} MB/s", "any", True)
    bench.figure("recordings wrong or missing", wrong or 0, "0", not wrong)
    missing = len(whole.missing) + whole.twice + whole.invented + whole.disordered
    bench.figure("live messages lost meanwhile", missing, "0", missing == 0)
