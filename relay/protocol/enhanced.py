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
CODE = {codec: code for code, codec in reversed(FOURCC.items())}
WITH_CTS = frozenset({Codec.H264, Codec.HEVC})
"""The codecs whose CodedFrames carry a composition time; the others cannot reorder."""

# VideoPacketType and AudioPacketType: 0, 1, 2 and 7 mean the same in both.
_START, _FRAMES, _END, _FRAMES_X, _METADATA, _MPEG2TS_START, _MULTITRACK_VIDEO, _MODEX = range(8)
_MULTICHANNEL_CONFIG, _MULTITRACK_AUDIO = 4, 5
_ONE_TRACK, _MANY_TRACKS, _MANY_CODECS = 0, 1, 2  # AvMultitrackType
_COMMAND_FRAME = 5

HEADER, FRAME, OTHER = "header", "frame", "other"


class Body(NamedTuple):
    """A message body understood: what it is (HEADER, FRAME or OTHER), ``cts`` in ms, and a view of its payload."""

    codec: Codec
    kind: str
    is_keyframe: bool
    cts: int
    data: memoryview


class _Cursor:
    """Reads a body front to back without copying. Raises ProtocolError where it is cut short."""

    __slots__ = ("rest",)

    def __init__(self, data: memoryview) -> None:
        self.rest = data

    def take(self, size: int) -> memoryview:
        taken = self.rest[:size]
        if len(taken) < size:
            raise ProtocolError("enhanced audio or video message is cut short")
        self.rest = self.rest[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def code(self) -> bytes:
        return bytes(self.take(4))


def _codec(code: bytes) -> Codec:
    codec = FOURCC.get(code)
    if codec is None:
        name = code.decode("ascii", "replace")
        raise ProtocolError(f"codec {name!r} is not supported; set the encoder to H.264, HEVC, AV1 or VP9 with AAC")
    return codec


def read_video(body: bytes | memoryview) -> Body | None:
    """An ExVideoTagHeader body (first bit set). None for frames that carry no media. Raises ProtocolError."""
    frame_type = body[0] >> 4 & 7
    cursor = _Cursor(memoryview(body)[1:])
    packet_type = _skip_modex(cursor, body[0] & 0x0F)
    if frame_type == _COMMAND_FRAME and packet_type != _METADATA:
        return None
    found = _track(cursor, packet_type, _MULTITRACK_VIDEO)
    if found is None:
        return None
    packet_type, codec = found
    _check_kind(codec, is_video=True)
    if packet_type == _MPEG2TS_START:
        raise ProtocolError("AV1 announced by an MPEG-TS descriptor is not supported; send a sequence header")
    if packet_type == _START:
        return Body(codec, HEADER, True, 0, cursor.rest)
    cts = 0
    if packet_type == _FRAMES:
        if codec in WITH_CTS:
            cts = int.from_bytes(cursor.take(3), "big", signed=True)
    elif packet_type != _FRAMES_X:
        return None  # end of sequence, HDR metadata, and what later versions may add
    return Body(codec, FRAME, frame_type in (1, 4), cts, cursor.rest)


def read_audio(body: bytes | memoryview) -> Body | None:
    """An ExAudioTagHeader body (sound format 9). None for bodies that carry no media. Raises ProtocolError."""
    cursor = _Cursor(memoryview(body)[1:])
    packet_type = _skip_modex(cursor, body[0] & 0x0F)
    found = _track(cursor, packet_type, _MULTITRACK_AUDIO)
    if found is None:
        return None
    packet_type, codec = found
    _check_kind(codec, is_video=False)
    if packet_type == _START:
        return Body(codec, HEADER, True, 0, cursor.rest)
    if packet_type == _FRAMES:
        return Body(codec, FRAME, True, 0, cursor.rest)
    return None  # end of sequence, speaker layout, and what later versions may add


def _check_kind(codec: Codec, *, is_video: bool) -> None:
    if (codec.kind == "video") != is_video:
        raise ProtocolError(f"{codec} in a message for the other kind of track")


def _skip_modex(cursor: _Cursor, packet_type: int) -> int:
    """The packet type behind any ModEx prefixes. Their one use today, nanosecond offsets, is below our clock."""
    while packet_type == _MODEX:
        size = cursor.number(1) + 1
        if size == 256:
            size = cursor.number(2) + 1
        cursor.take(size)
        packet_type = cursor.number(1) & 0x0F
    return packet_type


def _track(cursor: _Cursor, packet_type: int, multitrack: int) -> tuple[int, Codec] | None:
    """(packet type, codec) with the cursor before the default track's payload; None where only others are in it.

    Track 0 is the default; what the others are made of is no concern of ours, nor whether we know their codec.
    """
    if packet_type != multitrack:
        return packet_type, _codec(cursor.code())
    first = cursor.number(1)
    form, packet_type = first >> 4, first & 0x0F
    if form > _MANY_CODECS:
        raise ProtocolError(f"multitrack type {form} is not known")
    if packet_type == multitrack:
        raise ProtocolError("multitrack message inside another")
    code = cursor.code() if form != _MANY_CODECS else b""
    while cursor.rest:
        own_code = code or cursor.code()
        track_id = cursor.number(1)
        data = cursor.rest if form == _ONE_TRACK else cursor.take(cursor.number(3))
        if track_id == 0:
            cursor.rest = data
            return packet_type, _codec(own_code)
        if form == _ONE_TRACK:
            break
    return None


def prefix(packet: Packet) -> bytes:
    """The enhanced header before ``packet.data``; a composition time only where there is one to tell."""
    codec = packet.track.codec
    code = CODE[codec]
    if not packet.is_video:
        return b"\x91" + code
    cts = packet.pts_ms - packet.dts_ms
    if codec not in WITH_CTS:
        return (b"\x91" if packet.is_keyframe else b"\xa1") + code
    if not cts:
        return (b"\x93" if packet.is_keyframe else b"\xa3") + code
    return (b"\x91" if packet.is_keyframe else b"\xa1") + code + (cts & 0xFFFFFF).to_bytes(3, "big")


def sequence_header(track: Track) -> bytes:
    """The body that announces ``track``: packet type 0, in a keyframe (video) or of sound format 9 (audio)."""
    return b"\x90" + CODE[track.codec] + track.header


def codec_id(codec: Codec) -> int:
    """videocodecid or audiocodecid in onMetaData: the classic number, or the FourCC as one (Enhanced RTMP v2)."""
    classic = {Codec.H264: 7, Codec.AAC: 10, Codec.MP3: 2}
    return classic.get(codec) or int.from_bytes(CODE[codec], "big")
