"""Media of strangers: RTMP and FLV bodies up to what becomes of them, MP4 boxes, and segments uploaded by HLS."""

import contextlib
import json
import struct
from collections.abc import Iterable, Iterator

from relay.config import LimitSettings
from relay.errors import MediaError, ProtocolError
from relay.ingest.demux import Demuxer
from relay.ingest.demux_worker import ANSWER, answer
from relay.ingest.hls_fragments import Fragment, FragmentCutter
from relay.media import Packet
from relay.media.timeline import FileClock, Timeline
from relay.protocol import flv, mp4
from relay.protocol.freeze import frozen, rejoining, self_contained
from relay.protocol.parameter_sets import without_padding
from relay.protocol.rtmp import media as rtmp_media
from relay.protocol.rtmp.chunk import ChunkReader, Message
from relay.protocol.rtmp.limits import RtmpLimits
from relay.protocol.silence import silence
from tests.protocol.captures import pieces

HEAD = struct.Struct(">BIH")
"""Before each message of a target that takes a publisher: type (bit 0: video), timestamp, bytes of the body."""


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, timestamp, body) of each message in ``data``."""
    at = 0
    while at + HEAD.size <= len(data):
        kind, timestamp, size = HEAD.unpack_from(data, at)
        at += HEAD.size
        yield (flv.VIDEO if kind & 1 else flv.AUDIO), timestamp, data[at : at + size]
        at += size


def fuzz_flv(data: bytes) -> None:
    """Messages of one publisher: its packets must come through FLV (the spool) and RTMP (a platform) as they are."""
    packets = packets_of(Timeline(), messages(data))
    for packet in packets:
        _hold(packet)
    written = flv.file_header(has_video=True, has_audio=True) + flv.encode_batch(packets, (None, None))
    tags = flv.TagReader().feed(written)
    cut = flv.TagReader()
    assert [tag for piece in pieces(written, [len(data) % 97 + 1]) for tag in cut.feed(piece)] == tags
    read = packets_of(FileClock(), ((tag.type_id, tag.timestamp, tag.body) for tag in tags))
    assert _facts(read) == _facts(packets), "what the spool gives back is not what came"
    out: list[Message] = []
    ChunkReader(RtmpLimits(chunk_size_min=1)).read(rtmp_media.encode_batch(packets, (None, None), 128, 1), out)
    read = packets_of(FileClock(), ((sent.type_id, sent.timestamp, sent.payload) for sent in out))
    assert _facts(read) == _facts(packets), "what a platform gets is not what came"


def packets_of(clock: Timeline | FileClock, sent: Iterable[tuple[int, int, bytes]]) -> list[Packet]:
    """The packets of messages up to the first that breaks the protocol."""
    depacketizer = flv.Depacketizer(clock)
    packets: list[Packet] = []
    last: dict[bool, int] = {}
    try:
        for type_id, timestamp, body in sent:
            packet = depacketizer.feed(type_id, timestamp, body)
            if packet is not None:
                packets.append(packet)
                if isinstance(clock, Timeline):
                    assert packet.dts_ms > last.get(packet.is_video, -1 << 62), "a track goes back in time"
                    last[packet.is_video] = packet.dts_ms
    except ProtocolError:
        assert isinstance(clock, Timeline), "what we wrote is refused"
    return packets


def _facts(packets: list[Packet]) -> list[tuple[object, ...]]:
    return [
        (packet.track.codec, packet.track.header, packet.is_keyframe, packet.pts_ms - packet.dts_ms, packet.data)
        for packet in packets
    ]


def _hold(packet: Packet) -> None:
    """What stands in for a publisher that is away is made of its last packets."""
    if packet.is_video and packet.is_keyframe:
        for variant in frozen(packet):
            assert variant.track is packet.track
        rejoining(packet)
        self_contained(packet)
        with contextlib.suppress(ProtocolError):
            without_padding(packet.track.codec, packet.track.header)
    elif not packet.is_video:
        found = silence(packet.track)
        assert found is None or (found.data and found.duration_ms > 0)


def fuzz_mp4(data: bytes) -> None:
    """Byte 0: which reader of segments the rest goes to."""
    if not data:
        return
    body = data[1:]
    with contextlib.suppress(ProtocolError):
        match data[0] % 3:
            case 0:
                assert all(scale.timescale > 0 for scale in mp4.read_init(body).values())
            case 1:
                for run in mp4.read_runs(body):
                    assert sum(1 for _ in run.samples()) * 16 == len(run.table)
            case _:
                assert sum(len(sample.payload) for sample in mp4.read_fragments(body)) <= len(body)


def fuzz_fragments(data: bytes) -> None:
    """Byte 0: into what pieces the rest is cut."""
    if not data:
        return
    whole = _fragments([data[1:]])
    assert whole == _fragments(pieces(data[1:], [data[0] + 1])), "fragments depend on how their bytes are cut"


def _fragments(parts: Iterable[bytes]) -> tuple[str, list[Fragment], bytes, bool]:
    cutter = FragmentCutter(2000)
    found: list[Fragment] = []
    wrong = ""
    try:
        for part in parts:
            found += cutter.feed(part)
    except ProtocolError as error:
        wrong, found = str(error), []
    return wrong, found, b"" if wrong else cutter.init, cutter.is_ended and not wrong


def fuzz_demux(data: bytes) -> None:
    """Bytes 0 and 1: how many of the others are the init segment. As the demuxer's child and the relay read them."""
    if len(data) < 2:
        return
    split = 2 + int.from_bytes(data[:2], "big")
    said = answer(data[2:split], data[split:])
    text_size, flv_size = ANSWER.unpack_from(said)
    facts, body = json.loads(said[ANSWER.size : ANSWER.size + text_size]), said[ANSWER.size + text_size :]
    assert len(body) == flv_size <= 2 * len(data) + 4 * 1024 * 1024
    try:
        demuxed = Demuxer(LimitSettings())._checked(facts, body)
    except MediaError:
        return
    depacketizer = flv.Depacketizer(FileClock())
    with contextlib.suppress(ProtocolError):
        for tag in demuxed.tags:
            depacketizer.feed(tag.type_id, tag.timestamp, tag.body)
