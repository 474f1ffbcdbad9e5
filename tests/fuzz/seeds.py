"""What each target begins with when its corpus is empty: real sessions and files, put into the target's own form."""

import io
from collections.abc import Callable, Iterator

import av

from relay.archive.packager import init_segment, media_segment
from relay.media import TrackKind
from relay.media.timeline import FileClock
from relay.protocol import amf0, flv, mp4
from relay.protocol.rtmp.chunk import ChunkReader, Message
from tests.fuzz.files import HEADER
from tests.fuzz.media import HEAD
from tests.fuzz.wire import TYPES
from tests.protocol.captures import FILES, HANDSHAKE_BYTES, SESSIONS, chunks_of, flv_file, session

_NAMES = (*SESSIONS, "rtmpdump_play")


def _handshake() -> Iterator[bytes]:
    for name in _NAMES:
        yield b"\x01\x40" + session(name)[: HANDSHAKE_BYTES + 40]
    yield b"\x02\x40" + session(_NAMES[0])[:HANDSHAKE_BYTES]
    yield from (b"\x01\0" + first for first in (b"\x06", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n", b"\x03" + bytes(1700)))


def _chunk() -> Iterator[bytes]:
    for name in _NAMES:
        yield b"\x20" + chunks_of(name)[:4000]
    yield b"\xa0" + chunks_of(_NAMES[0])[:1500]


def _messages(name: str) -> list[Message]:
    out: list[Message] = []
    ChunkReader().read(chunks_of(name), out)
    return out


def _amf0() -> Iterator[bytes]:
    for name in _NAMES:
        yield from (b"\0" + item.payload for item in _messages(name) if item.type_id in (18, 20))
    yield b"\0" + amf0.encode(
        [1.5, True, None, amf0.UNDEFINED, amf0.AmfDate(1e12, 60), amf0.EcmaArray({"a": {"b": []}})]
    )


def _message() -> Iterator[bytes]:
    yield from (b"\0\0\0\x10\0", b"\1\0\6\0\0\0\x2a", b"\1\0\3\0\0\0\1\0\0\x0b\xb8")
    part = b"\x09\0\0\5\0\0\x28\0\0\0\0hello\0\0\0\x10"
    yield b"\2" + part + part
    yield from (b"\3" + item.payload for item in _messages(_NAMES[1]) if item.type_id == 20)
    yield from (b"\4" + text for text in (b"live\nkey", b"live?key=a&b=c\n/_definst_/x%20y?z", b"/live/key/\n"))
    yield from (b"\5" + text for text in (b"rtmp://h/app/name?k=v", b"rtmps://[::1]:444/a/b", b"rtmp://u:p@h:99999/"))


def _conversation() -> Iterator[bytes]:
    def put(type_id: int, stream_id: int, payload: bytes) -> bytes:
        return bytes((TYPES.index(type_id), stream_id)) + len(payload).to_bytes(2, "big") + payload

    for name in _NAMES:
        sent = [put(item.type_id, item.stream_id & 0xFF, item.payload[:300]) for item in _messages(name)[:24]]
        yield b"\xf9" + b"".join(sent)
    for mode, start in ((0, "NetStream.Publish.Start"), (2, "NetStream.Play.Start")):
        answers = (
            (0, ("_result", 1, {"fmsVer": "x"}, {"code": "NetConnection.Connect.Success", "level": "status"})),
            (0, ("_error", 2, None, {"level": "error", "code": "NetConnection.Call.Failed"})),
            (0, ("_result", 4, None, 7)),
            (7, ("onStatus", 0, None, {"level": "status", "code": start})),
            (7, ("onStatus", 0, None, {"level": "error", "code": "NetStream.Failed", "description": "no"})),
        )
        yield bytes((mode,)) + put(5, 0, b"\0\0\x10\0") + b"".join(
            put(20, stream, amf0.encode(*values)) for stream, values in answers  # type: ignore[arg-type]
        )  # fmt: skip
    names = (
        "createStream",
        "FCPublish",
        "FCSubscribe",
        "FCUnpublish",
        "deleteStream",
        "closeStream",
        "publish",
        "play",
    )
    calls = [put(20, 1, amf0.encode(name, 9, None, "key", "live")) for name in names]
    connect = put(20, 0, amf0.encode("connect", 1, {"app": "live", "fourCcList": ["hvc1"], "capsEx": 3}))
    yield from (b"\xf9" + connect + call + b"".join(calls) for call in calls)


def _tags(name: str) -> list[flv.Tag]:
    return [tag for tag in flv.TagReader().feed(flv_file(name)) if tag.type_id != flv.SCRIPT]


def _flv() -> Iterator[bytes]:
    for name in FILES:
        seen: dict[tuple[int, int], int] = {}
        sent = b""
        for tag in _tags(name):
            kind = (tag.type_id, tag.body[0])
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] <= 3 and len(tag.body) < 1500:
                sent += HEAD.pack(tag.type_id == flv.VIDEO, tag.timestamp, len(tag.body)) + tag.body
        yield sent


def _init_and_segment(name: str) -> tuple[bytes, bytes]:
    depacketizer = flv.Depacketizer(FileClock())
    found = [depacketizer.feed(tag.type_id, tag.timestamp, tag.body) for tag in _tags(name)]
    packets = [packet for packet in found if packet is not None][:12]
    init = init_segment(packets)
    ends = {TrackKind.VIDEO: packets[-1].dts_ms + 40}
    return init.data, media_segment(1, packets, init, base_ms=packets[0].dts_ms, ends_ms=ends)


def _mp4() -> Iterator[bytes]:
    for name in ("h264_b_aac", "av1_opus"):
        init, segment = _init_and_segment(name)
        yield b"\0" + init
        yield b"\1" + segment[:4000]
        yield b"\2" + segment
    small = b"\0" * 8
    yield b"\2" + mp4.write_runs(1, [mp4.Run(1, 5, mp4._SAMPLE.pack(10, 8, mp4._SYNC, 0), small)])


def _fragments() -> Iterator[bytes]:
    mfhd = mp4.box(b"mfhd", b"\0\0\0\0\0\0\0\x07")
    boxes = mp4.box(b"ftyp", b"iso6") + mp4.box(b"moov", b"\0" * 30) + mp4.box(b"moof", mfhd) + mp4.box(b"mdat", b"x")
    yield b"\x10" + boxes + mp4.box(b"styp") + mp4.box(b"moof", mfhd) + mp4.box(b"mdat", b"y" * 99) + mp4.box(b"mfra")
    yield b"\x03" + b"\0\0\0\1moov\0\0\0\0\0\0\0\x18" + b"\0" * 8 + boxes


def _m3u8() -> Iterator[bytes]:
    head = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-PLAYLIST-TYPE:EVENT\n"
    yield (
        head + '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x1f\n'
        '#EXT-X-MAP:URI="init.mp4",BYTERANGE="100@0"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z\n#EXTINF:2.0,\n'
        "#EXT-X-BYTERANGE:9@100\nseg7.m4s\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-DISCONTINUITY\n#EXTINF:1.5,t\n"
        "#EXT-X-BYTERANGE:9\nseg7.m4s\n#EXT-X-GAP\n#EXTINF:2,\nhttps://o.example/ingest/hls/k/a/9.ts?x=1\n"
        "#EXT-X-ENDLIST\n"
    ).encode()
    yield (
        b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",DEFAULT=YES,URI="a.m3u8"\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.4d401f,mp4a.40.2",RESOLUTION=640x360,AUDIO="a"\nv.m3u8\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"\nlow.m3u8\n'
    )
    yield from ((head + line + "\n").encode() for line in ("#EXT-X-I-FRAMES-ONLY", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3"))


def _spool() -> Iterator[bytes]:
    metadata = flv.TagReader().feed(HEADER)[0].body
    body = flv_file("h264_b_aac")[13:4000]
    note = flv.tag(flv.SCRIPT, 0, amf0.encode("relayNote", {"text": "{}", "packets": 3}))
    yield b"\0" + HEADER + body
    yield b"\1" + HEADER[13:] + body
    yield b"\2" + metadata
    yield b"\3" + note + body
    yield b"\3" + b"".join(flv.tag(tag.type_id, tag.timestamp, tag.body) for tag in _tags("ac3")[:6]) + note


def _demux() -> Iterator[bytes]:
    for name in ("h264_b_aac", "av1_opus", "hevc_aac"):
        init, segment = _init_and_segment(name)
        yield len(init).to_bytes(2, "big") + init + segment
        if name != "av1_opus":
            yield b"\0\0" + _transport_stream(name)
    tag = b"ID3\4\0\0\0\0\0\x3fPRIV\0\0\0\x35\0\0com.apple.streaming.transportStreamTimestamp\0" + bytes(7) + b"\x63"
    adts = b"".join(
        b"\xff\xf1\x50\x80" + (((len(item.body) + 5) << 5) | 0x1F).to_bytes(2, "big") + b"\xfc" + item.body[2:]
        for item in _tags("h264_b_aac")
        if item.type_id == flv.AUDIO and item.body[1] == 1
    )
    yield b"\0\0" + tag + adts[:3000]


def _transport_stream(name: str) -> bytes:
    out = io.BytesIO()
    source = io.BytesIO(flv_file(name))
    with av.open(source, "r", format="flv") as reader, av.open(out, "w", format="mpegts") as muxer:
        copies = {stream.index: muxer.add_stream_from_template(stream, opaque=True) for stream in reader.streams}
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                muxer.mux(packet)
    return out.getvalue()[: 188 * 80]


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "handshake": _handshake,
    "chunk": _chunk,
    "amf0": _amf0,
    "message": _message,
    "conversation": _conversation,
    "flv": _flv,
    "mp4": _mp4,
    "fragments": _fragments,
    "m3u8": _m3u8,
    "spool": _spool,
    "package": _flv,
    "transport": _flv,
    "picture": _flv,
    "demux": _demux,
}

WORDS: dict[str, tuple[bytes, ...]] = {
    "amf0": (b"\x03\0\0\x09", b"\x08\0\0\0\1", b"\x0a\0\0\0\2", b"\0\0\x09", b"\x0b", b"\x0c\0\0\0\1", b"\x10\0\1"),
    "message": (b"rtmp://", b"rtmps://", b"?key=", b"_definst_", b"\2\0\x07connect", b"%2f"),
    "conversation": tuple(
        b"\2" + len(name).to_bytes(2, "big") + name
        for name in (b"connect", b"publish", b"play", b"createStream", b"onStatus", b"_result", b"_error", b"close",
                     b"FCUnpublish", b"deleteStream", b"onMetaData", b"@setDataFrame")
    ),
    "flv": (b"\x90hvc1", b"\x91av01", b"\x90vp09", b"\x90Opus", b"\x91ac-3", b"\x90fLaC", b"\x17\0\0\0\0\1", b"\xaf\0",
            b"\x96\x10", b"\x97\0\0", b"\x93avc1", b"\0\0\x03"),
    "mp4": (b"moov", b"trak", b"tkhd", b"mdia", b"mdhd", b"hdlr", b"moof", b"traf", b"tfhd", b"tfdt", b"trun", b"mdat"),
    "fragments": (b"moov", b"moof", b"mfhd", b"mdat", b"mfra", b"\0\0\0\x08", b"\0\0\0\1"),
    "m3u8": (b"#EXTINF:", b"#EXT-X-KEY:METHOD=AES-128,URI=", b"#EXT-X-MAP:URI=", b"#EXT-X-BYTERANGE:", b"\n",
             b"#EXT-X-STREAM-INF:BANDWIDTH=1", b"#EXT-X-MEDIA:TYPE=AUDIO,", b"#EXT-X-GAP", b"IV=0x", b"http://",
             b"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES", b"#EXT-X-ENDLIST", b"GROUP-ID=", b"//[", b"file:"),
    "spool": (b"fieldRelay", b"recording", b"baseMs", b"startMs", b"firstSeq", b"relayNote", b"packets", b"\x7f\xf0",
              b"\x02\0\x0bonMetaData", b"relayCommit"),
    "demux": (b"moov", b"trak", b"stsd", b"avcC", b"hvcC", b"esds", b"moof", b"trun", b"\x47\x40\0\x10", b"\0\0\1"),
}  # fmt: skip
WORDS |= dict.fromkeys(("package", "transport", "picture"), WORDS["flv"])
