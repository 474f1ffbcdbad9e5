"""The demuxer's child: reads one HLS segment after the other on stdin, writes each as FLV on stdout, opens nothing.

What strangers send is parsed here and nowhere else: without files, sockets or children, and in bounded memory.
"""

import importlib
import io
import json
import pkgutil
import signal
import sys
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import av

from relay.confine import leave_network, limit
from relay.ingest.demux_wire import ANSWER, ASK
from relay.protocol import flv

MEMORY_BYTES = 640 * 1024 * 1024  # of addresses, 130 of them code and libraries
ALARM_S = 60
CPU_S = 2.0  # 20 MiB need a tenth of a second
_MOST_STREAMS = 64
_MOST_PACKETS = 50_000  # in a segment of seconds: 20 is usual, 1,000 much
_MS = Fraction(1, 1000)
_TS_RATE, _TS_WRAP = 90_000, 1 << 33
_VIDEO = {"h264", "hevc", "av1", "vp9", "vp8"}
_AUDIO = {"aac", "mp3", "mp3float", "opus", "libopus", "ac3", "eac3", "flac"}
_VIDEO |= {"libdav1d", "libaom-av1", "libvpx", "libvpx-vp9"}  # PyAV names the decoder it would take
_HEADED = {"opus", "libopus", "flac"}
_APPLE_TIME = b"com.apple.streaming.transportStreamTimestamp\0"


class Facts(NamedTuple):
    """``base`` is the time of FLV timestamp 0, in ticks of ``rate`` a second, modulo ``wrap`` (0: it never wraps).

    ``length_ms`` from there to the end of the last frame.
    """

    base: int
    rate: int
    wrap: int
    length_ms: int


def kind_of(data: bytes) -> str:
    """The demuxer for ``data`` (``mpegts``, ``mp4``, ``aac``), by its first bytes and nothing else; empty: none."""
    if data[:1] == b"\x47" and data[188:189] in (b"\x47", b""):
        return "mpegts"
    if data[4:8] in (b"ftyp", b"styp", b"moof", b"sidx", b"moov", b"emsg", b"prft"):
        return "mp4"
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0):
        return "aac"
    return ""


def _packed_audio(data: bytes) -> tuple[bytes, int]:
    """The ADTS frames of packed audio (RFC 8216, 3.4), and their time in 90 kHz ticks from the ID3 tag before them."""
    base = 0
    while data[:3] == b"ID3" and len(data) > 10:
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        at = data.find(_APPLE_TIME, 10, 10 + size)
        if at >= 0:
            at += len(_APPLE_TIME)
            base = int.from_bytes(data[at : at + 8], "big") % _TS_WRAP
        data = data[10 + size :]
    return data, base


def _streams(source: av.container.InputContainer) -> dict[int, av.VideoStream | av.AudioStream]:
    """The first video and the first audio stream, by index. Raises ValueError in words where none can be carried."""
    found: dict[int, av.VideoStream | av.AudioStream] = {}
    others: list[str] = []
    video = [stream for stream in source.streams.video if stream.codec_context is not None]
    audio = [stream for stream in source.streams.audio if stream.codec_context is not None]
    for streams, names in ((video, _VIDEO), (audio, _AUDIO)):
        for stream in streams:
            name = stream.codec_context.name
            if name in names:
                found[stream.index] = stream
                break
            others.append(name)
    if not found and others:
        raise ValueError(f"codec {', '.join(others)} is not supported; set the encoder to H.264 or HEVC and AAC")
    if not found:
        raise ValueError("there is neither video nor audio in it")
    for stream in found.values():
        if stream.codec_context.name in _HEADED and not stream.codec_context.extradata:
            # FFmpeg's FLV muxer takes it for granted, and ends the process where it is not so.
            raise ValueError(f"{stream.codec_context.name} without its header")
    return found


def _ms(ticks: int, time_base: Fraction) -> int:
    """Ticks in whole ms, the nearest: the same tick is the same ms in every segment."""
    return (2 * ticks * time_base.numerator * 1000 + time_base.denominator) // (2 * time_base.denominator)


def _read(
    source: av.container.InputContainer, streams: dict[int, av.VideoStream | av.AudioStream]
) -> list[tuple[int, int, int, "av.Packet[av.stream.Stream]"]]:
    """(DTS, PTS, duration in ms, packet) of the chosen streams, in order of DTS; each stream's DTS grows."""
    packets: list[tuple[int, int, int, av.Packet[av.stream.Stream]]] = []
    last: dict[int, int] = {}
    for packet in source.demux(list(streams.values())):
        if not packet.size:
            continue  # PyAV's own mark of the end
        before = last.get(packet.stream.index)
        if packet.dts is None and before is None:
            continue  # no clock yet: nobody knows when it was
        time_base = packet.time_base
        dts = _ms(packet.dts, time_base) if packet.dts is not None else before or 0
        pts = _ms(packet.pts, time_base) if packet.pts is not None else dts
        if before is not None and dts <= before:
            dts = before + 1
        last[packet.stream.index] = dts
        packets.append((dts, pts, _ms(packet.duration or 0, time_base), packet))
        if len(packets) > _MOST_PACKETS:
            raise ValueError(f"more than {_MOST_PACKETS} frames in one segment")
    packets.sort(key=lambda item: item[0])
    return packets


def _is_bare(stream: av.VideoStream | av.AudioStream) -> bool:
    """Whether it has no keyframe with parameter sets in this segment: the header of an earlier one is in force."""
    context = stream.codec_context
    return context.name in ("h264", "hevc") and not context.extradata


def _bare_tag(packet: "av.Packet[av.stream.Stream]", codec: str, dts: int, cts: int) -> bytes:
    """The tag FFmpeg's muxer would make, which it does not without a header."""
    units = (unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1"))
    data = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units if unit)
    times = (cts & 0xFFFFFF).to_bytes(3, "big")
    if codec == "h264":
        return flv.tag(flv.VIDEO, dts, (b"\x17\1" if packet.is_keyframe else b"\x27\1") + times, data)
    return flv.tag(flv.VIDEO, dts, (b"\x91" if packet.is_keyframe else b"\xa1") + b"hvc1" + times, data)


def demux(init: bytes, data: bytes) -> tuple[Facts, bytes]:
    """One segment as FLV, rebased to 0. Raises ValueError in words, or what PyAV raises, where it is no media."""
    kind = kind_of(data)
    base = 0
    if not kind:
        raise ValueError("neither MPEG-TS nor fragmented MP4")
    if kind == "aac":
        data, base = _packed_audio(data)
    options = {"max_streams": str(_MOST_STREAMS)}
    out = io.BytesIO()
    with av.open(io.BytesIO(init + data), "r", format=kind, options=options) as source:
        streams = _streams(source)
        packets = _read(source, streams)
        if not packets:
            raise ValueError("no whole frame in it")
        first_ms = packets[0][0]
        bare = {index for index, stream in streams.items() if _is_bare(stream)}
        tags = [
            _bare_tag(packet, streams[packet.stream.index].codec_context.name, dts - first_ms, pts - dts)
            for dts, pts, _, packet in packets
            if packet.stream.index in bare
        ]
        if len(bare) < len(streams):
            with av.open(out, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as muxer:
                copies = {
                    index: muxer.add_stream_from_template(stream, opaque=True)
                    for index, stream in streams.items()
                    if index not in bare
                }
                for dts, pts, _, packet in packets:
                    if packet.stream.index not in bare:
                        packet.stream = copies[packet.stream.index]
                        packet.time_base = _MS
                        packet.dts, packet.pts = dts - first_ms, pts - first_ms
                        muxer.mux(packet)
        else:
            out.write(flv.file_header(has_video=True, has_audio=False))
    out.write(b"".join(tags))
    length_ms = max(dts + duration for dts, _, duration, _ in packets) - first_ms
    if kind == "mp4":
        return Facts(first_ms, 1000, 0, length_ms), out.getvalue()
    return Facts((base + first_ms * 90) % _TS_WRAP, _TS_RATE, _TS_WRAP, length_ms), out.getvalue()


def answer(init: bytes, data: bytes) -> bytes:
    """The whole answer to one ask."""
    body = b""
    try:
        facts, body = demux(init, data)
        said: dict[str, int | str] = facts._asdict()
    except Exception as error:  # noqa: BLE001 - whatever a stranger's bytes lead to is said, and the next ones are read
        words = error.strerror if isinstance(error, av.FFmpegError) else str(error)
        said = {"error": " ".join((words or type(error).__name__).split())[:300]}
        body = b""
    text = json.dumps(said).encode()
    return ANSWER.pack(len(text), len(body)) + text + body


def confine() -> None:
    """Give up, for good, what parsing does not need: memory beyond the limit, files, sockets, core dumps."""
    leave_network()  # where that is forbidden, three open files leave none for a socket either
    limit(memory_bytes=MEMORY_BYTES, open_files=3, cpu_s=None)


def serve(asks: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the other side closes."""
    while head := asks.read(ASK.size):
        sizes = ASK.unpack(head)
        init, data = (asks.read(size) for size in sizes)
        signal.alarm(ALARM_S)  # ends this process, also when the relay that watches it is gone
        signal.setitimer(signal.ITIMER_PROF, CPU_S)  # likewise; some bytes keep FFmpeg busy for minutes
        answers.write(answer(init, data))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        answers.flush()


def main() -> None:
    av.logging.set_level(None)
    for module in pkgutil.walk_packages(av.__path__, "av."):  # PyAV imports some of them when it meets a stream
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    confine()
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
