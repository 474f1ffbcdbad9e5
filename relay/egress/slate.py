"""The operator's picture or clip, encoded once to be shown in place of a publisher who is away."""

import io
import itertools
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import PictureType
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from relay.egress import SLATE_BYTES
from relay.errors import ProtocolError, SlateError
from relay.media import Codec, Packet, Track
from relay.media.timeline import Timeline
from relay.protocol import flv
from relay.protocol.audio_headers import aac_config
from relay.protocol.silence import silence

os.environ.setdefault("SVT_LOG", "1")  # errors: libsvtav1 has no other switch for what it prints

MAX_SIDE = 8192
MAX_SECONDS = 30

_KINDS = (
    (b"\x89PNG\r\n\x1a\n", 0, "png_pipe"),
    (b"\xff\xd8\xff", 0, "jpeg_pipe"),
    (b"ftyp", 4, "mp4"),
)  # what a file begins with, where, and its demuxer
_ENCODERS = {Codec.H264: "libx264", Codec.HEVC: "libx265", Codec.AV1: "libsvtav1", Codec.VP9: "libvpx-vp9"}
_PROFILES = {"avc1.42": "baseline", "avc1.4d": "main"}
_KEYFRAME_S = 2
_FPS = (5, 60)
_PICTURE_BYTES = 96 * 1024  # a picture is sent twice a second
_QUALITIES = (23, 28, 33, 38, 43)  # constant rate factors to try until it is that small
_MAX_RATE = 2_500_000  # bit/s of a clip
_AUDIO_RATE = 128_000
_TURNS = {90: ("transpose=cclock",), -90: ("transpose=clock",), 180: ("hflip", "vflip")}  # Frame.rotation


@dataclass(frozen=True, slots=True)
class Slate:
    """A loop of packets with DTS from 0, to begin again after ``length_ms``; it starts on a keyframe.

    A picture is one keyframe with ``length_ms`` 0, to be repeated like any. ``audio_track`` is the very Track that
    was asked for, or None when the file has no sound or its codec cannot be encoded here. ``is_cut``: the clip was
    longer than 30 s, and only those are in it.
    """

    video_track: Track
    audio_track: Track | None
    packets: tuple[Packet, ...]
    length_ms: int
    is_cut: bool = False


def make_slate(path: Path, video: Track, audio: Track | None = None, *, fps_hint: float = 30.0) -> Slate:
    """The PNG, JPEG or MP4 file ``path`` in the codec and size of ``video`` and, for a clip, as ``audio`` sounds.

    Blocks for up to some seconds per second of a clip: for a thread. ``fps_hint``: the rate of a clip that does not
    say its own. Raises SlateError.
    """
    content, _ = read_slate(path)
    return encode_slate(path, content, video, audio, fps_hint=fps_hint)


def encode_slate(
    path: Path, content: bytes, video: Track, audio: Track | None = None, *, fps_hint: float = 30.0
) -> Slate:
    """As ``make_slate``, of what was read from ``path`` before, which is only named."""
    if video.codec not in _ENCODERS:
        raise SlateError(f"a slate cannot be encoded to {video.codec}; set the destination's hold to freeze")
    if not video.width or not video.height:
        raise SlateError("the publisher's picture size is not known; set the destination's hold to freeze")
    kind = _kind(path, content)
    try:
        if kind == "mp4":
            return _clip(path, content, video, audio, fps_hint)
        return _picture(path, content, kind, video)
    except (av.FFmpegError, ProtocolError, ValueError) as error:
        raise SlateError(f"slate {path} cannot be used: {error}; give a PNG, JPEG or MP4 file that plays") from error


def read_slate(path: Path) -> tuple[bytes, str]:
    """A file's content and the demuxer for it. Raises SlateError."""
    try:
        with path.open("rb") as file:
            content = file.read(SLATE_BYTES + 1)
    except OSError as error:
        raise SlateError(f"slate {path} cannot be read: {error.strerror}") from error
    if len(content) > SLATE_BYTES:
        raise SlateError(f"slate {path} is larger than {SLATE_BYTES // 1024**2} MiB; give a smaller one")
    return content, _kind(path, content)


def _kind(path: Path, content: bytes) -> str:
    """The demuxer for a file. Only these: others could open further files, or addresses."""
    for magic, at, kind in _KINDS:
        if content.startswith(magic, at):
            return kind
    raise SlateError(f"slate {path} is no PNG, JPEG or MP4 file; convert it to one of these")


# --- pictures --------------------------------------------------------------------------------------------------------


def _picture(path: Path, content: bytes, kind: str, video: Track) -> Slate:
    _check_size(path, *_picture_size(content, kind))
    with av.open(io.BytesIO(content), "r", format=kind) as source:
        frame = next(source.decode(video=0), None)
    if frame is None:
        raise ValueError("no picture in it")
    (fitted,) = _fitted([frame], video, frame, None)
    for quality in _QUALITIES:
        packets = _encode_video([fitted], video, Fraction(30), quality)
        if len(packets[0].data) <= _PICTURE_BYTES:
            break
    return Slate(packets[0].track, None, (packets[0],), 0)


def _picture_size(content: bytes, kind: str) -> tuple[int, int]:
    """(width, height) as a PNG or JPEG file declares it, before anything is decoded; 0 by 0 where it does not."""
    if kind == "png_pipe":
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame, ITU-T T.81 table B.1
            return int.from_bytes(content[at + 7 : at + 9], "big"), int.from_bytes(content[at + 5 : at + 7], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return 0, 0


def _check_size(path: Path, width: int, height: int) -> None:
    if not width or not height:
        raise ValueError("no picture in it")
    if max(width, height) > MAX_SIDE:
        raise SlateError(f"slate {path} has {width} by {height} pixels; {MAX_SIDE} a side are allowed: make it smaller")


# --- clips -----------------------------------------------------------------------------------------------------------


def _clip(path: Path, content: bytes, video: Track, audio: Track | None, fps_hint: float) -> Slate:
    with av.open(io.BytesIO(content), "r", format="mp4") as source:
        if not source.streams.video:
            raise ValueError("no video in it")
        stream = source.streams.video[0]
        _check_size(path, stream.width, stream.height)
        stream.thread_count = 1
        rate = stream.average_rate or Fraction(fps_hint).limit_denominator(1001)
        rate = min(max(rate, Fraction(_FPS[0])), Fraction(_FPS[1]))
        first = next(source.decode(stream), None)
        if first is None:
            raise ValueError("no picture in it")
        rest = _until(source.decode(stream), first)
        limit = int(MAX_SECONDS * rate)
        pictures = itertools.islice(_fitted(itertools.chain([first], rest), video, first, rate), limit + 1)
        packets = _encode_video(pictures, video, rate, None)
    is_cut = len(packets) > limit
    del packets[limit:]
    if len(packets) > 1 and packets[-1].is_keyframe:
        del packets[-1]  # two keyframes in a row, the last and the first, could be taken for one picture
    length_ms = round(len(packets) * 1000 / rate)
    sound = _encode_audio(content, audio, length_ms) if audio is not None else []
    if sound and audio is not None:
        frame = silence(audio)
        if frame is not None:
            length_ms = round(len(sound) * frame.duration_ms)
    both = sorted([*packets, *sound], key=lambda packet: (packet.dts_ms, not packet.is_video))
    return Slate(packets[0].track, audio if sound else None, tuple(both), length_ms, is_cut)


def _until(frames: Iterator[av.VideoFrame], first: av.VideoFrame) -> Iterator[av.VideoFrame]:
    """``frames`` up to the limit behind ``first``, by their own clock."""
    start = first.time or 0.0
    for frame in frames:
        if frame.time is not None and frame.time - start > MAX_SECONDS + 1:
            return
        yield frame


def _fitted(
    frames: Iterable[av.VideoFrame], video: Track, like: av.VideoFrame, rate: Fraction | None
) -> Iterator[av.VideoFrame]:
    """``frames``, which are ``like`` the first, upright, scaled to fit the size of ``video``, padded with black.

    With ``rate``, as many per second of theirs as it says.
    """
    # Chroma is stored once for two by two pixels: encoders want even sizes.
    width, height = max(2, video.width & ~1), max(2, video.height & ~1)
    # What is transparent lets black through.
    words = ["format=gbrap", "premultiply=inplace=1"] if any(part.is_alpha for part in like.format.components) else []
    words += _TURNS.get(round(like.rotation), ())
    words += [
        f"scale={width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2"
        ":out_range=tv:out_color_matrix=bt709",
        "format=yuv420p",
        f"pad={width}:{height}:-1:-1:black",
        "setsar=1",
    ]
    base = like.time_base or Fraction(1, 1000)
    graph = av.filter.Graph()
    graph.threads = 1
    nodes = [graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=base)]
    for word in words if rate is None else [*words, f"fps={rate.numerator}/{rate.denominator}"]:
        name, _, args = word.partition("=")
        nodes.append(graph.add(name, args))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    for frame in itertools.chain(frames, [None]):
        if frame is not None and frame.pts is None:
            frame.pts = 0
        graph.vpush(frame)
        while True:
            try:
                yield graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                break


# --- encoders --------------------------------------------------------------------------------------------------------


def _encode_video(frames: Iterable[av.VideoFrame], video: Track, rate: Fraction, quality: int | None) -> list[Packet]:
    """``frames`` in the codec of ``video``, each ``1 / rate`` s long from 0; ``quality``: one picture's, None: a clip.

    They pass through FLV, as a publisher's do, which gives them their form and their Track.
    """
    out = io.BytesIO()
    with av.open(out, "w", format="flv") as muxer:
        stream = muxer.add_stream(_ENCODERS[video.codec], rate=rate, options=_options(video, rate, quality))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = max(2, video.width & ~1), max(2, video.height & ~1)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.gop_size = round(_KEYFRAME_S * rate)
        context.max_b_frames = 0
        context.colorspace = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        for number, frame in enumerate(frames):
            frame.pict_type = PictureType.NONE  # what it was in the file is not what it is to be
            frame.pts, frame.time_base = number, 1 / rate
            muxer.mux(stream.encode(frame))
        muxer.mux(stream.encode(None))
    depacketizer = flv.Depacketizer(Timeline())
    read = (depacketizer.feed(tag.type_id, tag.timestamp, tag.body) for tag in flv.TagReader().feed(out.getvalue()))
    packets = [packet for packet in read if packet is not None]
    if not packets or not packets[0].is_keyframe:
        raise ValueError("the encoder gave no keyframe")
    times = [round(number * 1000 / rate) for number in range(len(packets))]
    return [packet._replace(dts_ms=at, pts_ms=at) for packet, at in zip(packets, times, strict=True)]


def _options(video: Track, rate: Fraction, quality: int | None) -> dict[str, str]:
    """An encoder's own settings: closed groups of 2 s, no reordering, one thread, nothing printed."""
    factor = quality or _QUALITIES[0]
    keyint = round(_KEYFRAME_S * rate)
    if video.codec is Codec.H264:
        rates = {"maxrate": str(_MAX_RATE), "bufsize": str(2 * _MAX_RATE)} if quality is None else {}
        profile = _PROFILES.get(video.codec_string[:7], "high")
        return {"preset": "veryfast", "crf": str(factor), "profile": profile, "sc_threshold": "0", **rates}
    if video.codec is Codec.HEVC:
        rates_text = f":vbv-maxrate={_MAX_RATE // 1000}:vbv-bufsize={_MAX_RATE // 500}" if quality is None else ""
        own = f"keyint={keyint}:min-keyint={keyint}:scenecut=0:bframes=0:open-gop=0:pools=none:frame-threads=1"
        return {"preset": "ultrafast", "crf": str(factor), "x265-params": f"{own}:log-level=none{rates_text}"}
    if video.codec is Codec.AV1:
        return {"preset": "9", "crf": str(factor + 12), "svtav1-params": f"pred-struct=1:lp=1:keyint={keyint}:scd=0"}
    return {"deadline": "realtime", "cpu-used": "7", "crf": str(factor + 12), "b": "0", "lag-in-frames": "0"}


def _encode_audio(content: bytes, audio: Track, length_ms: int) -> list[Packet]:
    """The sound of MP4 ``content`` as packets of ``audio``, to at least ``length_ms``; none where that cannot be."""
    blank = silence(audio)
    layout = {1: "mono", 2: "stereo"}.get(audio.channels)
    if blank is None or layout is None or not _can_encode(audio):
        return []
    frames: list[bytes] = []
    wanted = math.ceil(length_ms / blank.duration_ms)
    with av.open(io.BytesIO(content), "r", format="mp4") as source:
        if not source.streams.audio:
            return []
        name, form = ("aac", "fltp") if audio.codec is Codec.AAC else ("libopus", "flt")
        encoder = av.CodecContext.create(name, "w")
        assert isinstance(encoder, av.AudioCodecContext)
        encoder.sample_rate, encoder.layout, encoder.format = blank.rate, layout, form
        encoder.time_base = Fraction(1, blank.rate)
        encoder.bit_rate = _AUDIO_RATE if audio.channels == 2 else _AUDIO_RATE // 2
        resampler = av.AudioResampler(form, layout, blank.rate, blank.samples)
        sound = itertools.chain(source.decode(source.streams.audio[0]), [None])
        for number, frame in enumerate(itertools.chain.from_iterable(map(resampler.resample, sound))):
            frame.pts = number * blank.samples
            frames += _sounding(encoder.encode(frame))
            if len(frames) >= wanted:
                break
        else:
            frames += _sounding(encoder.encode(None))
    frames += [blank.data] * (wanted - len(frames))
    times = [round(number * blank.duration_ms) for number in range(wanted)]
    return [Packet(audio, at, at, True, data) for at, data in zip(times, frames, strict=False)]


def _sounding(packets: "Iterable[av.Packet[av.AudioStream]]") -> list[bytes]:
    """The data of ``packets`` but for those before 0, with which encoders begin."""
    return [bytes(packet) for packet in packets if packet.pts is None or packet.pts >= 0]


def _can_encode(audio: Track) -> bool:
    """Whether the encoder's frames can be decoded with the track's own header, so that it need not change."""
    if audio.codec is Codec.OPUS:
        return True
    if audio.codec is not Codec.AAC:
        return False
    config = aac_config(audio.header)
    return config.object_type == 2 and not config.short
