"""FLV bodies and files (Adobe FLV 10.1, Annex E; Enhanced RTMP v2): packets in and out of what RTMP and FLV share."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from relay.errors import LimitError, ProtocolError
from relay.media import Codec, Packet, Track
from relay.media.timeline import Clock
from relay.protocol import codecs, enhanced
from relay.protocol.amf0 import AmfValue, EcmaArray, encode

AUDIO, VIDEO, SCRIPT = 8, 9, 18  # FLV tag types, and RTMP message types
ENCODER = "Field Relay"
HEADER_BYTES = 16 * 1024  # of a sequence header; real ones have some hundred
Tracks = tuple[Track | None, Track | None]

_AVC, _HEVC_LEGACY, _AAC, _MP3 = 7, 12, 10, 2
_NEEDS_HEADER = frozenset({Codec.H264, Codec.HEVC, Codec.AV1, Codec.AAC, Codec.OPUS, Codec.FLAC})
_WITHOUT_HEADER = frozenset({Codec.MP3, Codec.AC3, Codec.EAC3})
_LEGACY_AUDIO_NAMES = {
    0: "PCM",
    1: "ADPCM",
    3: "PCM",
    4: "Nellymoser",
    5: "Nellymoser",
    6: "Nellymoser",
    7: "G.711",
    8: "G.711",
    11: "Speex",
    14: "MP3 8 kHz",
}
_LEGACY_VIDEO_NAMES = {1: "JPEG", 2: "Sorenson H.263", 3: "Screen video", 4: "VP6", 5: "VP6", 6: "Screen video"}
_KEYFRAMES = frozenset({0x17, 0x91, 0x93})  # first bytes: legacy H.264; enhanced CodedFrames and CodedFramesX
_ENHANCED_FRAMES = frozenset({0x91, 0x93, 0xA1, 0xA3})
_CODED_FRAMES_X = 3
_new = tuple.__new__  # a named tuple's own is a Python function, and takes twice as long


class Depacketizer:
    """Turns one publisher's audio and video messages (or FLV tag bodies) into packets on ``timeline``.

    Keeps the tracks: a repeated identical sequence header keeps the very same Track. ``orphans`` counts frames
    that came before the header they need.
    """

    __slots__ = ("_aac", "_audio_code", "_avc", "_has_cts", "_place", "_video_code", "audio", "orphans", "video")

    def __init__(self, timeline: Clock) -> None:
        self._place = timeline.place
        self.video: Track | None = None
        self.audio: Track | None = None
        self.orphans = 0
        # What the hot path asks of the tracks: the legacy ones, and the codes enhanced frames of theirs begin with.
        self._avc: Track | None = None
        self._aac: Track | None = None
        self._video_code = self._audio_code = b""
        self._has_cts = False

    def adopt(self, other: "Depacketizer") -> None:
        """Begin with the tracks of ``other``, the very same ones."""
        for track in (other.video, other.audio):
            if track is not None:
                self._keep(track)

    def feed(self, type_id: int, timestamp: int, body: bytes | memoryview) -> Packet | None:
        """One message of ``type_id`` AUDIO or VIDEO; None for what is no frame. Raises ProtocolError.

        ``timestamp``: the 32-bit field in ms. The payload is copied once.
        """
        size = len(body)
        if size < 2:
            return None  # encoders send empty messages as keep-alive
        first = body[0]
        if type_id == VIDEO:
            if (first == 0x27 or first == 0x17) and body[1] == 1 and size > 5 and self._avc is not None:
                cts = body[2] << 16 | body[3] << 8 | body[4]  # E.4.3.1: 24 bits, signed
                if cts & 0x800000:
                    cts -= 0x1000000
                dts_ms = self._place(timestamp, True)
                return _new(Packet, (self._avc, dts_ms, dts_ms + cts, first == 0x17, bytes(body[5:])))
            if first in _ENHANCED_FRAMES and size > 8 and body[1:5] == self._video_code and self.video is not None:
                at, cts = 5, 0
                if self._has_cts and first & 0x0F != _CODED_FRAMES_X:
                    at, cts = 8, int.from_bytes(body[5:8], "big", signed=True)
                dts_ms = self._place(timestamp, True)
                return Packet(self.video, dts_ms, dts_ms + cts, first in _KEYFRAMES, bytes(body[at:]))
            return self._video(timestamp, first, memoryview(body))
        if first >> 4 == _AAC and body[1] == 1 and size > 2 and self._aac is not None:
            dts_ms = self._place(timestamp, False)
            return _new(Packet, (self._aac, dts_ms, dts_ms, True, bytes(body[2:])))
        if first == 0x91 and size > 5 and body[1:5] == self._audio_code and self.audio is not None:
            dts_ms = self._place(timestamp, False)
            return Packet(self.audio, dts_ms, dts_ms, True, bytes(body[5:]))
        return self._audio(timestamp, first, memoryview(body)) if type_id == AUDIO else None

    def _video(self, timestamp: int, first: int, body: memoryview) -> Packet | None:
        if first & 0x80:
            return self._body(timestamp, True, enhanced.read_video(body))
        frame_type, codec_id = first >> 4, first & 0x0F
        if frame_type == 5:
            return None  # E.4.3.1: info or command frame
        if codec_id not in (_AVC, _HEVC_LEGACY):
            name = _LEGACY_VIDEO_NAMES.get(codec_id, f"number {codec_id}")
            raise ProtocolError(f"video codec {name} is not supported; set the encoder to H.264, HEVC, AV1 or VP9")
        if len(body) < 5:
            raise ProtocolError("video message is cut short")
        codec = Codec.H264 if codec_id == _AVC else Codec.HEVC
        cts = int.from_bytes(body[2:5], "big", signed=True)
        kind = enhanced.HEADER if body[1] == 0 else enhanced.FRAME if body[1] == 1 else enhanced.OTHER
        return self._body(timestamp, True, enhanced.Body(codec, kind, frame_type in (1, 4), cts, body[5:]))

    def _audio(self, timestamp: int, first: int, body: memoryview) -> Packet | None:
        sound = first >> 4
        if sound == 9:
            return self._body(timestamp, False, enhanced.read_audio(body))
        if sound == _AAC:
            kind = enhanced.HEADER if body[1] == 0 else enhanced.FRAME if body[1] == 1 else enhanced.OTHER
            return self._body(timestamp, False, enhanced.Body(Codec.AAC, kind, True, 0, body[2:]))
        if sound == _MP3:
            return self._body(timestamp, False, enhanced.Body(Codec.MP3, enhanced.FRAME, True, 0, body[1:]))
        name = _LEGACY_AUDIO_NAMES.get(sound, f"number {sound}")
        raise ProtocolError(f"audio codec {name} is not supported; set the encoder to AAC or Opus")

    def _body(self, timestamp: int, is_video: bool, body: enhanced.Body | None) -> Packet | None:
        if body is None or body.kind == enhanced.OTHER:
            return None
        track = self.video if is_video else self.audio
        data = bytes(body.data)
        if body.kind == enhanced.HEADER:
            self._header(track, body.codec, data)
            return None
        if not data:
            return None
        if track is None or track.codec is not body.codec:
            if body.codec in _NEEDS_HEADER:
                self.orphans += 1
                return None
            track = self._keep(codecs.read_frame_track(body.codec, data))
        if body.is_keyframe and is_video:
            sized = codecs.sized_by_keyframe(track, data)
            if sized is not track:
                track = self._keep(sized)
        dts_ms = self._place(timestamp, is_video)
        return Packet(track, dts_ms, dts_ms + body.cts, body.is_keyframe or not is_video, data)

    def _header(self, track: Track | None, codec: Codec, header: bytes) -> None:
        if codec in _WITHOUT_HEADER:
            return  # ffmpeg announces them all the same; their frames say what there is to know
        if not header or (codec is Codec.AAC and len(header) < 2):
            return  # some encoders announce a track with an empty configuration first
        if codec is Codec.OPUS and header.startswith(b"OpusTags"):
            return  # Enhanced RTMP v2 allows RFC 7845's comment header as well
        if len(header) > HEADER_BYTES:
            raise LimitError("sequence_header", f"sequence header of {len(header)} bytes; {HEADER_BYTES} are allowed")
        if track is None or track.codec is not codec or track.header != header:
            found = codecs.read_track(codec, header)
            if track is None or track.codec is not codec or track.header != found.header:
                self._keep(found)

    def _keep(self, track: Track) -> Track:
        codec = track.codec
        if codec.kind == "video":
            self.video = track
            self._avc = track if codec is Codec.H264 else None
            self._has_cts = codec in enhanced.WITH_CTS
            # The others' keyframes say how large they are, and so are looked into.
            self._video_code = enhanced.CODE[codec] if self._has_cts or (codec is Codec.AV1 and track.width) else b""
        else:
            self.audio = track
            self._aac = track if codec is Codec.AAC else None
            self._audio_code = enhanced.CODE[codec]
        return track


# --- writing ---------------------------------------------------------------------------------------------------------


def message_prefix(packet: Packet) -> bytes:
    """What goes before ``packet.data`` in a message or tag body: legacy for H.264, AAC and MP3, else enhanced."""
    codec = packet.track.codec
    if codec is Codec.H264:
        cts = packet.pts_ms - packet.dts_ms
        head = b"\x17\x01" if packet.is_keyframe else b"\x27\x01"
        return head + (cts & 0xFFFFFF).to_bytes(3, "big") if cts else head + b"\0\0\0"
    if codec is Codec.AAC:
        return b"\xaf\x01"
    if codec is Codec.MP3:
        return _mp3_flags(packet.track)
    return enhanced.prefix(packet)


def _mp3_flags(track: Track) -> bytes:
    """The first byte of a legacy MP3 body (E.4.2.1): nominal rate, 16 bits, mono or stereo."""
    rate = 3 if track.sample_rate >= 32000 or not track.sample_rate else 2 if track.sample_rate > 12000 else 1
    return bytes((_MP3 << 4 | rate << 2 | 2 | (track.channels != 1),))


def sequence_header(track: Track) -> bytes | None:
    """The whole body that announces ``track``; None for codecs that have no sequence header."""
    if track.codec is Codec.H264:
        return b"\x17\0\0\0\0" + track.header
    if track.codec is Codec.AAC:
        return b"\xaf\0" + track.header
    if track.codec in _WITHOUT_HEADER or not track.header:
        return None
    return enhanced.sequence_header(track)


def describe(tracks: Tracks, extra: Mapping[str, object]) -> dict[str, AmfValue]:
    """onMetaData's fields: what the tracks say, and the plain numbers of the publisher's own for the rest."""
    video, audio = tracks
    found: dict[str, AmfValue] = {}
    for name in ("framerate", "videodatarate", "audiodatarate", "audiosamplesize"):
        value = extra.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9:
            found[name] = value
    if video is not None:
        for name, size in (("width", video.width), ("height", video.height)):
            sent = extra.get(name)
            if size:
                found[name] = size
            elif isinstance(sent, int | float) and 0 < sent < 65536:
                found[name] = sent
        found["videocodecid"] = enhanced.codec_id(video.codec)
    if audio is not None:
        if audio.sample_rate:
            found["audiosamplerate"] = audio.sample_rate
        if audio.channels:
            found["audiochannels"] = audio.channels
            found["stereo"] = audio.channels > 1
        found["audiocodecid"] = enhanced.codec_id(audio.codec)
    found["encoder"] = ENCODER
    return found


def metadata(tracks: Tracks, extra: Mapping[str, object]) -> bytes:
    """The body of an onMetaData script tag."""
    return encode("onMetaData", EcmaArray(describe(tracks, extra)))


def file_header(*, has_video: bool, has_audio: bool) -> bytes:
    """The first 13 bytes of an FLV file (E.2): header and PreviousTagSize0."""
    return b"FLV\x01" + bytes((4 * has_audio + has_video,)) + b"\0\0\0\x09\0\0\0\0"


def tag(type_id: int, timestamp: int, *parts: bytes) -> bytes:
    """One FLV tag (E.4.1) with its PreviousTagSize; ``timestamp`` in ms, its low 32 bits are kept.

    Its parts make the body, below 16 MiB together.
    """
    size = sum(map(len, parts))
    stamp = timestamp & 0xFFFFFFFF
    head = b"%c%b%b%c\0\0\0" % (
        type_id,
        size.to_bytes(3, "big"),
        (stamp & 0xFFFFFF).to_bytes(3, "big"),
        stamp >> 24,
    )
    return b"".join((head, *parts, (11 + size).to_bytes(4, "big")))


def encode_batch(packets: Sequence[Packet], opening: Tracks, base_ms: int = 0) -> bytes:
    """``packets`` as FLV tags timed from ``base_ms``, each new track's sequence header before its first packet."""
    out: list[bytes] = []
    video, audio = opening
    for packet in packets:
        track = packet.track
        is_video = packet.is_video
        if track is not (video if is_video else audio):
            if is_video:
                video = track
            else:
                audio = track
            body = sequence_header(track)
            if body is not None:
                out.append(tag(VIDEO if is_video else AUDIO, packet.dts_ms - base_ms, body))
        type_id = VIDEO if is_video else AUDIO
        out.append(tag(type_id, packet.dts_ms - base_ms, message_prefix(packet), packet.data))
    return b"".join(out)


# --- reading files ---------------------------------------------------------------------------------------------------


class Tag(NamedTuple):
    """One FLV tag. ``timestamp``: 32-bit ms. ``end``: file offset behind it, its PreviousTagSize included."""

    type_id: int
    timestamp: int
    body: bytes
    end: int


class TagReader:
    """Reads an FLV file from bytes cut anywhere. ``offset``: behind the last whole tag (or the file header)."""

    def __init__(self, max_tag_bytes: int = 16 * 1024 * 1024 - 1) -> None:
        self._max = max_tag_bytes
        self._buffer = bytearray()
        self.offset = 0

    def feed(self, data: bytes | memoryview) -> list[Tag]:
        """The tags ``data`` completes. Raises ProtocolError where the file is none."""
        buffer = self._buffer
        buffer += data
        at = 0
        tags: list[Tag] = []
        if self.offset == 0:
            head = bytes(buffer[:4])
            if head != b"FLV\x01"[: len(head)]:
                raise ProtocolError("not an FLV file")
            if len(buffer) < 13:
                return []
            if bytes(buffer[5:13]) != b"\0\0\0\x09\0\0\0\0":
                raise ProtocolError("FLV file with an unknown header")
            at = self.offset = 13
        while len(buffer) - at >= 11:
            size = int.from_bytes(buffer[at + 1 : at + 4], "big")
            if size > self._max:
                raise LimitError("tag_size", f"FLV tag of {size} bytes; {self._max} are allowed")
            if buffer[at] not in (AUDIO, VIDEO, SCRIPT) or any(buffer[at + 8 : at + 11]):
                raise ProtocolError(f"no FLV tag at offset {self.offset}")
            end = at + 11 + size
            if len(buffer) < end + 4:
                break
            if int.from_bytes(buffer[end : end + 4], "big") != 11 + size:
                raise ProtocolError(f"FLV tag at offset {self.offset} does not end where it says")
            timestamp = int.from_bytes(buffer[at + 4 : at + 7], "big") | buffer[at + 7] << 24
            self.offset += 15 + size
            with memoryview(buffer) as view:
                body = bytes(view[at + 11 : end])
            tags.append(Tag(buffer[at], timestamp, body, self.offset))
            at = end + 4
        del buffer[:at]
        return tags
