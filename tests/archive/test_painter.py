"""The painter: the pictures are those made here, and whatever a keyframe does, it does to a child."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.archive import painter as painters
from relay.archive.painter import Painter
from relay.archive.recording import Recording, package
from relay.archive.thumbnails import jpeg
from relay.errors import MediaError
from relay.media import Codec, Packet, Track
from tests.archive.media import read_packets, shifted
from tests.archive.test_recording import part
from tests.archive.test_thumbnails import CLIPS, DAMAGE, keyframe
from tests.support import clips

GARBAGE = ("-I", "-c", "import sys; sys.stdout.buffer.write(bytes(99)); sys.stdout.flush(); sys.stdin.read()")


@pytest.fixture
def painter() -> Iterator[Painter]:
    made = Painter(60.0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def first() -> Packet:
    return keyframe(clips.H264_B)


def pid(painter: Painter) -> int:
    assert painter._child is not None
    return painter._child.process.pid


def is_alive(number: int) -> bool:
    return Path(f"/proc/{number}").exists()


def test_pictures_and_words_are_those_made_here(painter: Painter, first: Packet) -> None:
    painter.jpeg(first)
    before = pid(painter)
    for clip in CLIPS:
        packet = keyframe(clip)
        assert painter.jpeg(packet) == jpeg(packet)
        assert painter.jpeg(packet, width=64) == jpeg(packet, width=64)
        for _, damage in DAMAGE:
            broken = packet._replace(data=damage(packet.data))
            with pytest.raises(MediaError) as here:
                jpeg(broken)
            with pytest.raises(MediaError) as there:
                painter.jpeg(broken)
            assert str(there.value) == str(here.value)
    with pytest.raises(MediaError, match="too large"):
        painter.jpeg(Packet(Track(codec=Codec.H264, width=8194, height=16), 0, 0, True, b"x"))
    assert pid(painter) == before, "one for all of them"


def test_the_child_has_no_network_environment_or_files(painter: Painter, first: Packet) -> None:
    painter.jpeg(first)
    child = Path(f"/proc/{pid(painter)}")
    assert (child / "environ").read_bytes() == b""
    assert os.readlink(child / "cwd") == "/"
    assert sorted(int(path.name) for path in (child / "fd").iterdir()) == [0, 1, 2]
    limits = (child / "limits").read_text("ascii")
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max file size")] == ["0"]
    if os.geteuid() == 0:
        assert os.readlink(child / "ns/net") != os.readlink("/proc/self/ns/net")


def test_a_child_that_died_costs_nobody_a_picture(painter: Painter, first: Packet) -> None:
    wanted = painter.jpeg(first)
    before = pid(painter)
    os.kill(before, signal.SIGKILL)
    assert painter.jpeg(first) == wanted
    assert pid(painter) != before
    assert not is_alive(before)


def test_a_keyframe_that_takes_for_ever_costs_one_picture(first: Packet) -> None:
    painter = Painter(60.0)
    wanted = painter.jpeg(first)
    before = pid(painter)
    os.kill(before, signal.SIGSTOP)
    painter._within_s = 0.5
    with pytest.raises(MediaError, match=r"takes more than 0\.5 s"):
        painter.jpeg(first)
    assert not is_alive(before)
    painter._within_s = 60
    assert painter.jpeg(first) == wanted
    painter.close()


def test_a_keyframe_that_breaks_a_child_of_its_own_is_told(
    painter: Painter, first: Packet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as less:
        less.setattr(painters, "MEMORY_BYTES", 60 * 1024**2)
        with pytest.raises(MediaError, match="breaks the decoder: it died"):
            painter.jpeg(first)
    with monkeypatch.context() as other:
        other.setattr(painters, "_CHILD", GARBAGE)
        with pytest.raises(MediaError, match="its answer makes no sense"):
            painter.jpeg(first)
    assert painter.jpeg(first)


def test_nobody_is_left_when_there_was_nothing_to_paint_for_a_while(first: Packet) -> None:
    painter = Painter(60.0, idle_s=0.2)
    painter.jpeg(first)
    before = pid(painter)
    until = time.monotonic() + 30
    while is_alive(before):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert painter.jpeg(first)
    before = pid(painter)
    painter.close()
    assert not is_alive(before)


def test_a_recording_goes_on_without_the_picture(
    painter: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = read_packets(clips.make(clips.H264_B))
    made = Recording("r1", "talk", tmp_path)
    with monkeypatch.context() as other:
        other.setattr(painters, "_CHILD", GARBAGE)
        done = package(made, part(tmp_path, 0, packets), painter)
    assert done.segment is not None
    assert not done.segment.thumbnail
    painter.every_s = 0.001
    done = package(made, part(tmp_path, 1, shifted(packets, 60_000)), painter)
    assert done.segment is not None
    assert done.segment.thumbnail
    assert [item.path.suffix for item in done.files if item.path.name.startswith("thumb")] == [".jpg"]
