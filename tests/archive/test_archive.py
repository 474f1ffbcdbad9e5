"""The whole archive: real clips onto a hub, segments in a store, and what a restart, an outage and a lost link do."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from relay.archive.disk import Space
from relay.archive.recorder import DISK_FULL
from relay.config import ArchiveSettings, Settings, load_settings
from relay.media import Packet
from tests.archive.conftest import CLIP
from tests.archive.house import House
from tests.archive.media import Connection, batches, publish, read_packets, send, shifted
from tests.support import clips
from tests.support.probe import decode, probe
from tests.support.process import Processes
from tests.support.recording import Recording
from tests.support.s3 import serve
from tests.support.snapshot import snapshot


async def until(condition: Callable[[], bool]) -> None:
    """Return once ``condition`` holds."""
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


def same(sent: Sequence[Packet], kept: Recording) -> None:
    """Every packet once, in order, of each track."""
    items = kept.listing().items
    for name, is_video in (("video", True), ("audio", False)):
        wanted = [hashlib.sha256(packet.data).hexdigest() for packet in sent if packet.is_video is is_video]
        assert [item.digest for item in items if item.track == name] == wanted, name


async def check_playable(folder: Path, recording: Recording, sent: Sequence[Packet]) -> None:
    for number, part in enumerate(recording.parts):
        path = folder / f"whole-{number}.mp4"
        path.write_bytes(part.init + part.data)
        await probe(path)
    (folder / "whole.mp4").write_bytes(recording.whole())
    tracks = await probe(folder / "whole.mp4")
    assert len(tracks["video"].dts) + len(tracks["audio"].dts) == len(sent)
    assert tracks["video"].gap_s <= 2 * tracks["video"].frame_s
    await decode(folder / "whole.mp4")


async def test_a_recording_from_first_packet_to_store(house: House, packets: list[Packet], tmp_path: Path) -> None:
    lease, _ = publish(house.hub, "talk", packets)
    running = house.archive.recording_of("talk")
    lease.release(clean=True)
    row = await house.finished()
    assert row.id == running
    recording = house.stored(row)
    same(packets, recording)
    videos = [packet.dts_ms for packet in packets if packet.is_video]
    assert row.duration_s == pytest.approx((videos[-1] - videos[0] + 33) / 1000, abs=0.002)
    assert recording.duration_s == pytest.approx(row.duration_s, abs=0.001)
    assert (row.gap_s, row.segments) == (0, 4)
    assert recording.playlist.endswith("#EXT-X-ENDLIST\n")
    await check_playable(tmp_path, recording, packets)
    folder = house.settings.data_dir / "archive" / "talk" / row.id
    tracks = await probe(folder / "index.m3u8", "-allowed_extensions", "ALL")
    assert len(tracks["video"].dts) == sum(packet.is_video for packet in packets)
    assert list((house.settings.data_dir / "spool").rglob("*.flv*")) == []
    stats = house.archive.stats
    assert (stats.segments["recorded"], stats.segments["stored"], stats.stored_bytes) == (4, 4, row.bytes)
    assert (house.archive.oldest_unstored_s(), house.archive.problems()) == (0, [])


async def test_in_a_bucket_on_a_real_server(
    processes: Processes, packets: list[Packet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(processes, tmp_path) as server:
        for name, value in {**server.settings, "DATA_DIR": str(tmp_path / "data"), "ARCHIVE__SEGMENT_S": "2"}.items():
            monkeypatch.setenv(f"RELAY_{name}", value)
        house = await House(load_settings()).start()
        lease, _ = publish(house.hub, "talk", packets)
        lease.release(clean=True)
        row = await house.finished()
        recording = await asyncio.to_thread(server.read, f"talk/{row.id}")
        same(packets, recording)
        assert recording.playlist.endswith("#EXT-X-ENDLIST\n")
        await check_playable(tmp_path, recording, packets)
        assert await house.archive.library.read(row.id, "000000.m4s") == server.object(f"talk/{row.id}/000000.m4s")
        await house.stop()


async def test_acknowledgements_follow_the_disk(house: House, packets: list[Packet]) -> None:
    lease, connection = publish(house.hub, "talk", packets)
    assert connection.acknowledged == []
    await house.archive._committer.drain()
    assert connection.acknowledged[-1] == len(packets)
    lease.release(clean=True)
    await house.finished()


async def test_a_lost_link_is_a_gap_in_the_same_recording(house: House, packets: list[Packet]) -> None:
    lease, _ = publish(house.hub, "talk", packets)
    lease.release(clean=False)
    running = house.archive.recording_of("talk")
    again = house.hub.publish("talk", Connection())
    later = shifted(packets, packets[-1].dts_ms + 5000)
    for batch in batches(later):
        again.write(batch)
    again.release(clean=True)
    row = await house.finished()
    assert row.id == running
    same([*packets, *later], house.stored(row))
    (gap,) = await house.database.recordings.gaps(row.id)
    assert gap.reason == "link lost"
    assert gap.length_ms == pytest.approx(5000, abs=60)
    videos = [packet.dts_ms for packet in (*packets, *later) if packet.is_video]
    assert row.duration_s + row.gap_s == pytest.approx((videos[-1] - videos[0] + 33) / 1000, abs=0.002)
    assert "#EXT-X-DISCONTINUITY" in house.stored(row).playlist


async def test_a_publisher_back_within_the_merge_window_goes_on_with_its_recording(
    house: House, packets: list[Packet]
) -> None:
    publish(house.hub, "talk", packets)
    house.hub.end("talk", clean=False)
    first = await house.finished()
    lease, _ = publish(house.hub, "talk", packets)
    assert house.archive.recording_of("talk") == first.id
    lease.release(clean=True)
    await until(lambda: house.archive.stats.segments["stored"] == 2 * first.segments)
    row = await house.finished()
    assert row.id == first.id
    same([*packets, *packets], house.stored(row))
    segments = await house.database.recordings.segments(row.id)
    ends = [segment.start_ms + segment.duration_s * 1000 for segment in segments]
    assert all(end <= after.start_ms + 0.001 for end, after in zip(ends, segments[1:], strict=False))


@pytest.mark.parametrize("clean", [False, True])
async def test_restarts_do_not_make_a_loss_a_goodbye(tmp_path: Path, packets: list[Packet], clean: bool) -> None:
    """Even once everything is stored and the spool's copy has had its time."""
    kept = ArchiveSettings(segment_s=2, keep_after_upload_s=0)
    house = await House(Settings(data_dir=tmp_path / "data", archive=kept)).start()
    publish(house.hub, "talk", packets)
    house.hub.end("talk", clean=clean)
    first = await house.finished()
    for _ in range(2):
        await house.stop()
        await house.start()
        assert (await house.finished()).id == first.id
    lease, _ = publish(house.hub, "talk", packets)
    assert (house.archive.recording_of("talk") == first.id) is not clean
    lease.release(clean=True)
    await house.stop()


async def test_a_goodbye_ends_the_recording(house: House, packets: list[Packet]) -> None:
    publish(house.hub, "talk", packets)[0].release(clean=True)
    first = await house.finished()
    lease, _ = publish(house.hub, "talk", packets)
    assert house.archive.recording_of("talk") not in (None, first.id)
    lease.release(clean=True)


async def test_what_a_crash_leaves_is_taken_up(house: House, packets: list[Packet], tmp_path: Path) -> None:
    publish(house.hub, "talk", packets)
    await house.archive._committer.drain()
    crashed = tmp_path / "crashed"
    snapshot(house.settings.data_dir, crashed)
    torn = max((crashed / "spool").rglob("*.flv.part"))
    with torn.open("ab") as file:
        file.write(b"\x09\x00\x01\x00 half a tag")
    other = await House(house.settings.model_copy(update={"data_dir": crashed})).start()
    row = await other.finished()
    same(packets, other.stored(row))
    assert row.gap_s == 0
    assert row.id == house.archive.recording_of("talk")
    await other.stop()


async def test_a_spool_without_its_database_is_taken_up(house: House, packets: list[Packet], tmp_path: Path) -> None:
    publish(house.hub, "talk", packets)
    await house.archive._committer.drain()
    saved = tmp_path / "saved"
    snapshot(house.settings.data_dir / "spool", saved / "spool")
    for path in saved.rglob("*.m4s"):
        # Packaged and stored before: only what is still a part can come back without store and database.
        path.unlink()
    kept = {path.name for path in saved.rglob("*.flv*")}
    other = await House(house.settings.model_copy(update={"data_dir": saved})).start()
    row = await other.finished()
    assert row.segments == len(kept)
    assert row.started_at == pytest.approx(house.archive._recordings[row.id].started_at)
    await other.stop()


async def test_a_store_that_is_away_leaves_the_live_path_alone(house: House, packets: list[Packet]) -> None:
    store = house.settings.data_dir / "archive"
    async with asyncio.timeout(30):
        await asyncio.gather(*(task for task in house.archive._tasks if "Uploader.prove" in repr(task)))
    shutil.rmtree(store, ignore_errors=True)
    store.write_text("in the way")
    lease, connection = publish(house.hub, "talk", packets)
    await house.archive._committer.drain()
    assert connection.acknowledged[-1] == len(packets)
    lease.release(clean=True)
    await until(lambda: house.archive.stats.store_errors["disk"] > 0)
    assert any("object store" in problem for problem in house.archive.problems())
    recording = (await house.database.recordings.newest("talk"))[0].id
    store.unlink()
    row = await house.finished()
    assert row.id == recording
    same(packets, house.stored(row))
    assert house.archive.problems() == []


async def test_stopping_in_the_middle_keeps_everything(tmp_path: Path, packets: list[Packet]) -> None:
    house = await House(Settings(data_dir=tmp_path / "data", archive=ArchiveSettings(segment_s=2))).start()
    publish(house.hub, "talk", packets)
    await house.stop()
    again = await House(house.settings).start()
    row = await again.finished()
    same(packets, again.stored(row))
    assert again.stored(row).playlist.endswith("#EXT-X-ENDLIST\n")
    await again.stop()


async def test_a_stream_that_sends_nothing_leaves_no_recording(house: House) -> None:
    lease = house.hub.publish("talk", Connection())
    lease.release(clean=True)
    assert house.archive.recording_of("talk") is None
    assert await house.database.recordings.newest("talk") == []


async def test_a_publisher_back_after_a_restart_goes_on_with_its_recording(house: House, packets: list[Packet]) -> None:
    publish(house.hub, "talk", packets)
    running = house.archive.recording_of("talk")
    await house.archive._committer.drain()
    await house.stop()
    assert [row.state for row in await house.rows()] == ["recording"]
    await house.start()
    lease, _ = publish(house.hub, "talk", packets)
    assert house.archive.recording_of("talk") == running
    lease.release(clean=True)
    row = await house.finished()
    same([*packets, *packets], house.stored(row))


async def test_without_space_the_stream_lives_and_nothing_is_acknowledged(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 0
    monkeypatch.setattr("relay.archive.disk.space", lambda _: Space(free, 1 << 40))
    await house.archive.disk.check()
    lease, connection = publish(house.hub, "talk", packets)
    assert house.archive.recording_of("talk") is None
    assert house.archive.is_paused("talk")
    assert "no new recording" in house.archive.problems()[0]
    free = 1 << 39
    await house.archive.disk.check()
    assert house.archive.problems() == []
    later = shifted(packets, packets[-1].dts_ms + 40)
    for batch in batches(later):
        lease.write(batch)
    lease.release(clean=True)
    row = await house.finished()
    kept = later[next(index for index, packet in enumerate(later) if packet.is_video and packet.is_keyframe) :]
    same(kept, house.stored(row))
    assert (row.gap_s, connection.acknowledged) == (0, [])


async def test_a_pause_for_want_of_space_is_a_gap(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1 << 39
    monkeypatch.setattr("relay.archive.disk.space", lambda _: Space(free, 1 << 40))
    lease, _ = publish(house.hub, "talk", packets)
    free = 0
    await house.archive.disk.check()
    assert house.archive.is_paused("talk")
    second = shifted(packets, packets[-1].dts_ms + 40)
    for batch in batches(second):
        lease.write(batch)
    free = 1 << 39
    await house.archive.disk.check()
    third = shifted(packets, second[-1].dts_ms + 40)
    for batch in batches(third):
        lease.write(batch)
    free = 0
    await house.archive.disk.check()
    fourth = shifted(packets, third[-1].dts_ms + 40)
    for batch in batches(fourth):
        lease.write(batch)
    lease.release(clean=True)
    row = await house.finished()
    kept = third[next(index for index, packet in enumerate(third) if packet.is_video and packet.is_keyframe) :]
    same([*packets, *kept], house.stored(row))
    gaps = await house.database.recordings.gaps(row.id)
    assert [gap.reason for gap in gaps] == [DISK_FULL, DISK_FULL]
    whole = fourth[-1].dts_ms - packets[0].dts_ms
    assert row.duration_s + row.gap_s == pytest.approx(whole / 1000, abs=0.08)


async def test_a_clock_that_jumps_leaves_no_mark_in_the_recording_and_a_pause_does(
    house: House, tmp_path: Path
) -> None:
    clip = clips.make(CLIP)
    sent = read_packets(clip)
    frame_s = 1 / 30

    lease = house.hub.publish("talk", Connection())
    now_ms = send(lease, clip, offset_ms=60_000, from_ms=0, until_ms=3000, now_ms=5000)
    now_ms = send(lease, clip, offset_ms=50_000, from_ms=3000, until_ms=5000, now_ms=now_ms)
    send(lease, clip, offset_ms=37_650_000, from_ms=5000, until_ms=99_000, now_ms=now_ms)
    assert lease.timeline.jumps == 4
    lease.release(clean=True)
    row = await house.finished()
    recording = house.stored(row)
    same(sent, recording)
    assert row.gap_s == 0
    assert "#EXT-X-DISCONTINUITY" not in recording.playlist
    assert row.duration_s == pytest.approx(8, abs=2 * frame_s)
    await check_playable(tmp_path, recording, sent)

    lease = house.hub.publish("walk", Connection())
    now_ms = send(lease, clip, offset_ms=60_000, from_ms=0, until_ms=4000, now_ms=5000)
    send(lease, clip, offset_ms=70_000, from_ms=4000, until_ms=99_000, now_ms=now_ms + 10_000)
    assert lease.timeline.jumps == 0
    lease.release(clean=True)
    row = await house.finished("walk")
    assert row.gap_s == pytest.approx(10, abs=frame_s)
    assert house.stored(row).playlist.count("#EXT-X-DISCONTINUITY\n") == 1
