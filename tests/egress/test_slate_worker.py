"""Slates made apart: the same as made here, and whatever a file does, it does to a child."""

import io
import struct
from pathlib import Path

import pytest

from relay.egress import slate_worker
from relay.egress.slate import make_slate
from relay.egress.slate_worker import answer, make_slate_apart
from relay.errors import SlateError
from relay.media import Codec, Track
from relay.protocol.silence import SILENT_AAC
from tests.egress.test_slate import clip, picture

LIVE = Track(codec=Codec.H264, width=320, height=180)


def test_a_clip_and_a_picture_are_what_they_are_when_made_here(tmp_path: Path) -> None:
    for path, audio in (
        (clip(tmp_path / "slate.mp4", seconds=1), SILENT_AAC),
        (picture(tmp_path / "a.png", "64x64"), None),
    ):
        here, apart = make_slate(path, LIVE, audio), make_slate_apart(path, LIVE, audio)
        assert apart == here
        assert apart.audio_track is audio
        assert all(packet.track in (apart.video_track, audio) for packet in apart.packets)


def test_what_is_no_slate_is_told_in_the_same_words(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 9000, 9000) + bytes(100)
    torn = (picture(tmp_path / "a.png", "64x64").read_bytes())[:40]
    for name, content in (("big.png", png), ("torn.png", torn), ("x.mp4", b"\0\0\0\x20ftypisom" + bytes(1000))):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SlateError) as here:
            make_slate(path, LIVE)
        with pytest.raises(SlateError) as apart:
            make_slate_apart(path, LIVE)
        assert str(apart.value) == str(here.value)
    with pytest.raises(SlateError, match="no PNG, JPEG or MP4"):
        make_slate_apart(Path("/etc/passwd"), LIVE)


def test_a_child_that_dies_or_takes_for_ever_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "slate.mp4", seconds=1)
    with monkeypatch.context() as less:
        less.setattr(slate_worker, "MEMORY_BYTES", 100 * 1024**2)
        with pytest.raises(SlateError, match="breaks the decoder"):
            make_slate_apart(path, LIVE)
    monkeypatch.setattr(slate_worker, "WITHIN_S", 0.01)
    with pytest.raises(SlateError, match="takes more than"):
        make_slate_apart(path, LIVE)


def test_an_answer_that_makes_no_sense_is_none(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", "64x64")
    told = {"name": str(path), "video": slate_worker._told(LIVE), "audio": None}
    good = answer(io.BytesIO(slate_worker._packed(told) + path.read_bytes()))
    assert slate_worker._slate(good, None).packets
    for bad in (b"", good[:3], good[:50], good[:-1], slate_worker._packed([]), slate_worker._packed({"video": 1})):
        with pytest.raises((ValueError, KeyError, TypeError, struct.error)):
            slate_worker._slate(bad, None)
