"""Fragments out of an endless body: the same ones however it is cut, and nothing but errors of bodies that are none."""

import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import LimitError, ProtocolError
from relay.ingest.hls_fragments import Fragment, FragmentCutter
from tests.ingest import segments
from tests.ingest.segments import AAC, AUDIO, H264, VIDEO


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack("!I", 8 + len(body)) + kind + body


def moof(number: int) -> bytes:
    return box(b"moof", box(b"mfhd", struct.pack("!II", 0, number)) + box(b"traf"))


INIT = box(b"ftyp", b"cmfc") + box(b"moov", b"tracks")
FIRST = box(b"styp") + box(b"prft", b"time") + moof(7) + box(b"mdat", b"first")
SECOND = moof(8) + struct.pack("!I", 1) + b"mdat" + struct.pack("!Q", 22) + b"second"
BODY = INIT + FIRST + SECOND + box(b"mfra")


@given(st.lists(st.integers(0, len(BODY)), max_size=20))
def test_the_same_however_it_is_cut(cuts: list[int]) -> None:
    cutter = FragmentCutter(1000)
    found: list[Fragment] = []
    edges = [0, *sorted(cuts), len(BODY)]
    for start, end in pairwise(edges):
        found += cutter.feed(BODY[start:end])
    assert found == [Fragment(7, FIRST), Fragment(8, SECOND)]
    assert (cutter.init, cutter.is_ended) == (INIT, True)


def test_what_ffmpeg_streams(tmp_path: Path) -> None:
    flags = "empty_moov+default_base_moof+frag_keyframe"
    target = tmp_path / "track.mp4"
    segments.run(*VIDEO, *AUDIO, *H264, *AAC, "-t", "4", "-movflags", flags, "-f", "mp4", str(target))
    cutter = FragmentCutter(1_000_000)
    found = cutter.feed(target.read_bytes())
    assert [fragment.number for fragment in found] == [1, 2, 3, 4]
    assert cutter.is_ended
    assert cutter.init[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"\0\0\0\0ftyp", ProtocolError),
        (b"\0\0\0\7ftyp", ProtocolError),
        (b"\0\0\0\1mdat" + b"\0" * 8, ProtocolError),
        (INIT + box(b"moof"), ProtocolError),
        (INIT + box(b"moof", box(b"traf", b"12345678")), ProtocolError),
        (b"\xff\xff\xff\xffmdat", LimitError),
        (b"\0\0\0\1mdat" + b"\xff" * 8, LimitError),
        (INIT + box(b"free", b"x" * 600) + box(b"free", b"x" * 600), LimitError),
    ],
)
def test_what_is_no_stream(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        FragmentCutter(1000).feed(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_fragments_or_an_error(data: bytes) -> None:
    try:
        assert FragmentCutter(1000).feed(INIT + data) == [] or b"mdat" in data
    except ProtocolError:
        return
