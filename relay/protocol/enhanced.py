"""Enhanced RTMP (Veovera, "Enhanced RTMP v2"): extended audio and video bodies by four-character codec codes."""

from typing import NamedTuple

from relay.errors import ProtocolError
from relay.media import Codec, Packet, Track

FOURCC: dict[bytes, Codec] = {
    b"avc1": Codec.H264,
    b"hvc1": Codec.HEVC,
    b"hev1": Codec.HEVC,
    b"av01": Codec.AV1,
    b"vp09": Codec.VP9,
    b"vp08": Codec.VP8,
    b"mp4a": Codec.AAC,
    b".mp3": Codec.MP3,
    b"Opus": Codec.OPUS,
    b"ac-3": Codec.AC3,
    b"ec-3": Codec.EAC3,
    b"fLaC": Codec.FLAC,
}
_CODE = {codec: code for code, codec in reversed(FOURCC.items())}

# VideoPacketType and AudioPacketType: 0, 1 and 2 mean the same in both.
_START, _FRAMES, _END, _FRAMES_X, _METADATA, _MPEG2TS_START, _MULTITRACK_VIDEO, _MODEX = range(8)
_MULTICHANNEL_CONFIG, _MULTITRACK_AUDIO = 4, 5
_ONE_TRACK, _MANY_TRACKS, _MANY_CODECS = 0, 1, 2
_COMMAND_FRAME = 5

HEADER, FRAME, OTHER = "header", "frame", "other"


class Body(NamedTuple):
    """A message body understood: what it is (HEADER, FRAME or OTHER), ``cts`` in ms, and its payload."""

    codec: Codec
    kind: str
    is_keyframe: bool
    cts: int
    data: bytes


class _Cursor:
    """Reads a body front to back. Raises ProtocolError where it is cut short."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def take(self, size: int) -> bytes:
        taken = self.data[self.at : self.at + size]
        if len(taken) < size:
            raise ProtocolError("enhanced audio or video message is cut short")
        self.at += size
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def codec(self) -> Codec:
        code = self.take(4)
        codec = FOURCC.get(code)
        if codec is None:
            name = code.decode("ascii", "replace")
            raise ProtocolError(f"codec {name!r} is not supported; set the encoder to H.264, HEVC, AV1 or VP9 with AAC")
        return codec


def read_video(body: bytes) -> Body | None:
    """An ExVideoTagHeader body (first bit set). None for frames that carry no media. Raises ProtocolError."""
    frame_type = body[0] >> 4 & 7
    cursor = _Cursor(body, 1)
    packet_type = _skip_modex(cursor, body[0] & 0x0F)
    if frame_type == _COMMAND_FRAME and packet_type != _METADATA:
        return None
    if packet_type == _MULTITRACK_VIDEO:
        found = _default_track(cursor)
        if found is None:
            return None
        packet_type, codec, data = found
        cursor = _Cursor(data, 0)
    else:
        codec = cursor.codec()
    if packet_type == _MPEG2TS_START:
        raise ProtocolError("AV1 announced by an MPEG-TS descriptor is not supported; send a sequence header")
    if packet_type == _START:
        return Body(codec, HEADER, True, 0, cursor.data[cursor.at :])
    cts = 0
    if packet_type == _FRAMES:
        if codec in (Codec.H264, Codec.HEVC):
            cts = int.from_bytes(cursor.take(3), "big", signed=True)
    elif packet_type != _FRAMES_X:
        return None
    return Body(codec, FRAME, frame_type in (1, 4), cts, cursor.data[cursor.at :])


def read_audio(body: bytes) -> Body | None:
    """An ExAudioTagHeader body (sound format 9). None for bodies that carry no media. Raises ProtocolError."""
    cursor = _Cursor(body, 1)
    packet_type = _skip_modex(cursor, body[0] & 0x0F)
    if packet_type == _MULTITRACK_AUDIO:
        found = _default_track(cursor)
        if found is None:
            return None
        packet_type, codec, data = found
        cursor = _Cursor(data, 0)
    else:
        codec = cursor.codec()
    if packet_type == _START:
        return Body(codec, HEADER, True, 0, cursor.data[cursor.at :])
    if packet_type == _FRAMES:
        return Body(codec, FRAME, True, 0, cursor.data[cursor.at :])
    return None


def _skip_modex(cursor: _Cursor, packet_type: int) -> int:
    """The packet type behind any ModEx prefixes. Their one use today, nanosecond offsets, is below our clock."""
    while packet_type == _MODEX:
        size = cursor.byte() + 1
        if size == 256:
            size = cursor.number(2) + 1
        cursor.take(size)
        packet_type = cursor.byte() & 0x0F
    return packet_type


def _default_track(cursor: _Cursor) -> tuple[int, Codec, bytes] | None:
    """(packet type, codec, payload) of track 0 in a multitrack body; None where other tracks only are in it."""
    first = cursor.byte()
    multitrack, packet_type = first >> 4, first & 0x0F
    if multitrack > _MANY_CODECS:
        raise ProtocolError(f"multitrack type {multitrack} is not known")
    codec = cursor.codec() if multitrack != _MANY_CODECS else None
    while cursor.at < len(cursor.data):
        track_codec = codec or cursor.codec()
        track_id = cursor.byte()
        if multitrack == _ONE_TRACK:
            data = cursor.data[cursor.at :]
            cursor.at = len(cursor.data)
        else:
            data = cursor.take(cursor.number(3))
        if track_id == 0:
            return packet_type, track_codec, data
    return None


def prefix(packet: Packet) -> bytes:
    """The enhanced header before ``packet.data``; a composition time only where there is one to tell."""
    codec = packet.track.codec
    code = _CODE[codec]
    if not packet.is_video:
        return bytes((0x90 | _FRAMES,)) + code
    frame_type = 0x90 if packet.is_keyframe else 0xA0
    if codec not in (Codec.H264, Codec.HEVC):
        return bytes((frame_type | _FRAMES,)) + code
    cts = packet.pts_ms - packet.dts_ms
    if not cts:
        return bytes((frame_type | _FRAMES_X,)) + code
    return bytes((frame_type | _FRAMES,)) + code + (cts & 0xFFFFFF).to_bytes(3, "big")


def sequence_header(track: Track) -> bytes:
    """The body that announces ``track``: packet type 0, in a keyframe (video) or of sound format 9 (audio)."""
    return b"\x90" + _CODE[track.codec] + track.header


def codec_id(codec: Codec) -> int:
    """videocodecid or audiocodecid in onMetaData: the classic number, or the FourCC as one (Enhanced RTMP v2)."""
    classic = {Codec.H264: 7, Codec.AAC: 10, Codec.MP3: 2}
    return classic.get(codec) or int.from_bytes(_CODE[codec], "big")
