"""Demux worker: hostile segments are an error or fewer packets, in bounded memory and time, and the next one works."""

import contextlib
import io
import json
import random
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.ingest import demux_worker
from relay.ingest.demux_worker import ANSWER, ASK, MEMORY_BYTES, kind_of
from tests.fuzz.engine import corpus
from tests.ingest import segments
from tests.ingest.segments import AAC, AUDIO, H264, VIDEO, Piece
from tests.support import proc

ROUNDS = 60


class Child:
    """The worker as the relay starts it, asked directly."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", "relay.ingest.demux_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, data: bytes, init: bytes = b"") -> tuple[dict[str, object], bytes]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(ASK.pack(len(init), len(data)) + init + data)
        self.process.stdin.flush()
        sizes = ANSWER.unpack(self.process.stdout.read(ANSWER.size))
        text, flv = (self.process.stdout.read(size) for size in sizes)
        return json.loads(text), flv

    @property
    def peak_bytes(self) -> int:
        """The most private memory it ever had (VmData is what RLIMIT_DATA bounds; VmHWM what it touched)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def child() -> Iterator[Child]:
    started = Child()
    try:
        yield started
    finally:
        started.end()


@pytest.fixture
def ts(tmp_path: Path) -> Piece:
    return segments.made(tmp_path / "made", *VIDEO, *AUDIO, *H264, *AAC, seconds=1)[0]


@pytest.fixture
def fmp4(tmp_path: Path) -> Piece:
    return segments.made(tmp_path / "made", *VIDEO, *AUDIO, *H264, *AAC, seconds=1, kind="fmp4")[0]


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack("!I", 8 + len(body)) + kind + body


def bombs(fmp4: Piece) -> dict[str, bytes]:
    """Segments that announce what they do not have."""
    data = bytearray(fmp4.data)
    at = data.index(b"trun")
    data[at + 8 : at + 12] = b"\xff\xff\xff\xff"  # sample_count
    sidx = box(b"sidx", b"\0" * 20, b"\0\0\xff\xff", b"\0" * 64)
    stsz = box(b"stsz", b"\0" * 4, b"\0\0\0\1", b"\xff\xff\xff\xff")
    stts = box(b"stts", b"\0" * 4, b"\0\0\0\1", b"\xff\xff\xff\xff\0\0\0\1")
    hdlr = box(b"hdlr", b"\0" * 8, b"vide", b"\0" * 13)
    table = box(b"stbl", box(b"stsd", b"\0" * 8), stts, stsz)
    moov = box(b"moov", box(b"trak", box(b"mdia", hdlr, box(b"minf", table))))
    nested = b""
    for _ in range(2000):
        nested = box(b"moof", nested)
    pat = bytearray(b"\x47\x40\0\x10\0\0\xb0\xb1\0\1\xc1\0\0")
    pids = b"".join(
        b"\x47" + struct.pack("!H", 0x4000 | pid) + b"\x10\0\0\1\xe0\0\0\x80\x80\5\x21\0\1\0\1" + b"\xff" * 170
        for pid in range(0x20, 0x1FFF)
    )
    programs = b"".join(struct.pack("!HH", number, 0xE000 | number + 31) for number in range(1, 43))
    pat = pat + programs + b"\0" * 4
    return {
        "samples": bytes(data),
        "sidx": sidx + fmp4.data,
        "billions of samples": box(b"ftyp", b"iso5\0\0\0\0") + moov,
        "size zero": b"\0\0\0\0ftyp" + fmp4.data,
        "size huge": b"\0\0\0\1ftyp" + b"\xff" * 8 + fmp4.data,
        "nested": nested,
        "8,000 PIDs": (bytes(pat) + b"\xff" * (188 - len(pat)) + pids) * 3,
        "all sync": b"\x47" * 2_000_000,
        "one packet": b"\x47" * 188,
        "id3": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + b"\0" * 64,
        "id3 in id3": b"ID3\4\0\0\0\0\0\0" * 100_000,
        "adts": b"\xff\xf1\x50\x80\0\x1f\xfc" * 100_000,
    }


def is_sane(said: dict[str, object], flv: bytes) -> bool:
    return ("error" in said and not flv) or ("base" in said and flv[:3] == b"FLV")


def test_damaged_segments_leave_a_reader_that_works(ts: Piece, fmp4: Piece) -> None:
    shuffled = random.Random(8216)
    with child() as worker:
        good = {piece.name: worker.ask(piece.data, piece.init) for piece in (ts, fmp4)}
        for piece in (ts, fmp4):
            size = len(piece.data)
            for number in range(ROUNDS):
                cut = piece.data[: size * number // ROUNDS]
                assert is_sane(*worker.ask(cut, piece.init))
                flipped = bytearray(piece.data)
                for _ in range(1 + number):
                    flipped[shuffled.randrange(size)] ^= 1 << shuffled.randrange(8)
                assert is_sane(*worker.ask(bytes(flipped), piece.init))
                init = bytearray(piece.init)
                if init:
                    init[shuffled.randrange(len(init))] ^= 1 << shuffled.randrange(8)
                    assert is_sane(*worker.ask(piece.data, bytes(init)))
                assert is_sane(*worker.ask(shuffled.randbytes(shuffled.randrange(4000)), piece.init))
            assert worker.ask(piece.data, piece.init) == good[piece.name]
        assert worker.peak_bytes < MEMORY_BYTES


def test_bombs_are_bounded(fmp4: Piece) -> None:
    for name, bomb in bombs(fmp4).items():
        with child() as worker:
            try:
                said, flv = worker.ask(bomb, fmp4.init if name in ("samples", "sidx") else b"")
            except (struct.error, OSError):
                continue  # it died of it, which is what it is there for
            assert is_sane(said, flv), name
            assert worker.peak_bytes < MEMORY_BYTES, name
            assert "base" in worker.ask(fmp4.data, fmp4.init)[0], name


def test_nothing_can_be_opened_and_little_be_had() -> None:
    words = (
        "import resource; from relay.ingest import demux_worker as w; w.confine(); import io\n"
        "for act in (lambda: open('/etc/passwd'), lambda: open('/tmp/x', 'w'), lambda: bytearray(700 * 1024 * 1024),\n"
        "            lambda: __import__('socket').socket()):\n"
        "    try: act(); print('could')\n"
        "    except (OSError, MemoryError): print('not')\n"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"not"] * 4


def test_a_child_has_so_much_memory_and_no_network(ts: Piece) -> None:
    with child() as worker:
        worker.ask(ts.data)
        limits = proc.limits(worker.process.pid)
        assert limits == {"memory_bytes": MEMORY_BYTES, "file_bytes": 0, "core_bytes": 0, "open_files": 3}
        assert proc.network(worker.process.pid) != proc.network("self")


def test_it_leaves_when_the_relay_does(ts: Piece) -> None:
    with child() as worker:
        worker.ask(ts.data)
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(30) == 0


def test_only_what_it_knows_by_its_first_bytes(ts: Piece, fmp4: Piece, tmp_path: Path) -> None:
    playlist = tmp_path / "inner.m3u8"
    assert kind_of(ts.data) == "mpegts"
    assert kind_of(fmp4.data) == kind_of(fmp4.init) == "mp4"
    for data in (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"FLV\1"):
        assert not kind_of(data)
        with pytest.raises(ValueError, match="neither MPEG-TS nor fragmented MP4"):
            demux_worker.demux(b"", data + str(playlist).encode())


def test_codecs_that_cannot_be_carried_are_named(tmp_path: Path) -> None:
    piece = segments.made(tmp_path / "made", *VIDEO, "-c:v", "mpeg2video", seconds=1)[0]
    with pytest.raises(ValueError, match="codec mpeg2video is not supported; set the encoder to H"):
        demux_worker.demux(b"", piece.data)


def test_packed_audio_with_its_time_in_an_id3_tag() -> None:
    adts = segments.run(*AUDIO, *AAC, "-t", "1", "-f", "adts", "-")
    owner = b"com.apple.streaming.transportStreamTimestamp\0" + (2**33 - 90000).to_bytes(8, "big")
    frame = b"PRIV" + struct.pack("!I", len(owner)) + b"\0\0" + owner
    tag = b"ID3\4\0\0" + bytes((0, 0, len(frame) >> 7, len(frame) & 0x7F)) + frame
    facts, flv = demux_worker.demux(b"", tag + adts)
    assert (facts.base, facts.rate, facts.wrap) == (2**33 - 90000, 90000, 2**33)
    assert 950 < facts.length_ms < 1100
    assert flv[:3] == b"FLV"


def test_serving_ends_with_its_input(ts: Piece) -> None:
    asks = io.BytesIO((ASK.pack(0, len(ts.data)) + ts.data) * 2 + ASK.pack(0, 3) + b"abc")
    answers = io.BytesIO()
    demux_worker.serve(asks, answers)
    whole = answers.getvalue()
    first = demux_worker.answer(b"", ts.data)
    assert whole[: 2 * len(first)] == first * 2
    assert b"neither MPEG-TS" in whole[2 * len(first) :]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.sampled_from([b"", b"\x47", b"\0\0\0\x20ftyp", b"\0\0\1\0moof", b"ID3\4\0\0"]))
def test_any_bytes_have_an_answer(data: bytes, head: bytes) -> None:
    text_size, flv_size = ANSWER.unpack(demux_worker.answer(b"", head + data)[: ANSWER.size])
    assert text_size > 2
    assert flv_size >= 0


@pytest.mark.parametrize(("codec", "header"), [("libopus", b"dOps"), ("flac", b"dfLa")])
def test_sound_without_the_header_it_needs_is_refused_in_words(codec: str, header: bytes, tmp_path: Path) -> None:
    """FFmpeg's FLV muxer would end the process instead."""
    piece, *_ = segments.made(tmp_path / "made", *AUDIO, "-c:a", codec, "-strict", "-2", kind="fmp4", seconds=1)
    assert header in piece.init
    with child() as worker:
        said, _ = worker.ask(piece.data, piece.init.replace(header, b"free"))
        assert "header" in str(said.get("error")), said
        assert "error" not in worker.ask(piece.data, piece.init)[0]


def test_a_segment_that_keeps_a_library_busy_is_given_up_by_processor_time() -> None:
    """FFmpeg counts to 2^32 over this one's parameter sets. Others wait for the reader meanwhile."""
    kept = (corpus("demux") / "ends-child-by-endless-parameter-sets").read_bytes()
    split = 2 + int.from_bytes(kept[:2], "big")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with child() as worker, contextlib.suppress(struct.error):  # no answer: it is gone
        worker.ask(kept[split:], kept[2:split])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 6
