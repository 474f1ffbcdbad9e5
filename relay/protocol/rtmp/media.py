"""Packets as RTMP messages: bytes that refer to nothing sent before, so that every destination shares them."""

from collections.abc import Mapping, Sequence
from struct import Struct

from relay.media import Codec, Packet, Track
from relay.protocol import flv
from relay.protocol.amf0 import AmfValue, EcmaArray, encode
from relay.protocol.rtmp.chunk import write_message

AUDIO_CSID, DATA_CSID, VIDEO_CSID = 4, 5, 6
_HEADER = Struct(">III").pack  # csid and timestamp, length and type, message stream id (whose order is the other one)
_AAC_HEADER = Struct(">IIIH").pack  # the same, and what legacy bodies begin with (FLV E.4.2.1, E.4.3.1): two bytes,
_H264_HEADER = Struct(">IIIBI").pack  # or one, and one with a composition time of 24 bits
_AAC, _H264 = Codec.AAC, Codec.H264  # an enum's members are looked up slowly
Tracks = tuple[Track | None, Track | None]


def encode_batch(packets: Sequence[Packet], opening: Tracks, chunk_size: int, stream_id: int) -> bytes:
    """``packets`` as audio and video messages, sequence headers before the first packet of each new track.

    ``opening``: the (video, audio) tracks the peer already has the headers of. Times are the packets' DTS, their
    low 32 bits.
    """
    out: list[bytes] = []
    video, audio = opening
    prefix = flv.message_prefix
    msid = int.from_bytes(stream_id.to_bytes(4, "little"), "big")
    audio_csid, video_csid, room = AUDIO_CSID << 24, VIDEO_CSID << 24, chunk_size - 4
    audio_type, video_type = 2 << 8 | flv.AUDIO, 5 << 8 | flv.VIDEO
    for packet in packets:
        track, dts_ms, pts_ms, is_keyframe, data = packet
        if track is not video and track is not audio:
            if packet.is_video:
                video = track
            else:
                audio = track
            out.append(_header_message(track, dts_ms, chunk_size, stream_id))
        codec, length = track.codec, len(data)
        if length < room and 0 <= dts_ms < 0xFFFFFF:
            # The common case: one chunk, a plain timestamp (RTMP 1.0 §5.3.1.2.1), and the usual codecs.
            if codec is _AAC:
                out += (_AAC_HEADER(audio_csid | dts_ms, (length << 8) + audio_type, msid, 0xAF01), data)
                continue
            if codec is _H264:
                flag, cts = 0x17 if is_keyframe else 0x27, 1 << 24 | (pts_ms - dts_ms) & 0xFFFFFF
                out += (_H264_HEADER(video_csid | dts_ms, (length << 8) + video_type, msid, flag, cts), data)
                continue
        type_id, csid = (flv.VIDEO, VIDEO_CSID) if track is video else (flv.AUDIO, AUDIO_CSID)
        head = prefix(packet)
        length = len(head) + len(data)
        if length <= chunk_size and 0 <= dts_ms < 0xFFFFFF:
            out += (_HEADER(csid << 24 | dts_ms, length << 8 | type_id, msid), head, data)
        else:
            out.append(write_message(type_id, stream_id, dts_ms, head + data, chunk_size=chunk_size, csid=csid))
    return b"".join(out)


def header_messages(tracks: Tracks, dts_ms: int, chunk_size: int, stream_id: int) -> bytes:
    """The sequence headers of ``tracks``, video first, for a peer that has none of them yet."""
    return b"".join(_header_message(track, dts_ms, chunk_size, stream_id) for track in tracks if track is not None)


def _header_message(track: Track, dts_ms: int, chunk_size: int, stream_id: int) -> bytes:
    body = flv.sequence_header(track)
    if body is None:
        return b""
    is_video = track.codec.kind == "video"
    csid = VIDEO_CSID if is_video else AUDIO_CSID
    return write_message(
        flv.VIDEO if is_video else flv.AUDIO, stream_id, dts_ms, body, chunk_size=chunk_size, csid=csid
    )


def metadata_message(
    metadata: Mapping[str, object],
    tracks: Tracks,
    chunk_size: int,
    stream_id: int,
    *,
    publishing: bool,
    dts_ms: int = 0,
) -> bytes:
    """onMetaData for a destination (``publishing``: with @setDataFrame in front) or a player."""
    values: tuple[AmfValue, ...] = ("onMetaData", EcmaArray(flv.describe(tracks, metadata)))
    if publishing:
        values = ("@setDataFrame", *values)
    return write_message(flv.SCRIPT, stream_id, dts_ms, encode(*values), chunk_size=chunk_size, csid=DATA_CSID)
