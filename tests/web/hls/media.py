"""Made-up media on a stream of its own, cut by a muxer: frames as small as they go, at any pace."""

from collections.abc import Callable

from relay.archive.library import Place
from relay.hub import Stream
from relay.media import Codec, Packet, Track
from relay.web.hls.muxer import Muxer

VIDEO = Track(codec=Codec.H264, header=b"v", width=640, height=360, codec_string="avc1.42c01e")
TURNED = Track(codec=Codec.H264, header=b"w", width=360, height=640, codec_string="avc1.42c01e")
AUDIO = Track(codec=Codec.AAC, header=b"a", sample_rate=48000, channels=2, codec_string="mp4a.40.2")
STARTED = 1_800_000_000


def muxer(
    place: Callable[[], Place | None] = lambda: None,
    *,
    window_s: float = 1800,
    keep_s: float = 20,
    memory_bytes: int = 1 << 25,
    watched: bool = True,
) -> Muxer:
    made = Muxer(
        Stream("demo"), place, window_s=window_s, keep_s=keep_s, memory_bytes=memory_bytes, now=lambda: STARTED
    )
    if watched:
        made.asked()
    return made


def frames(
    from_ms: int,
    until_ms: int,
    *,
    fps: float = 30,
    gop_ms: int = 2000,
    video: Track | None = VIDEO,
    audio: Track | None = AUDIO,
    size: int = 100,
) -> list[Packet]:
    """Packets by DTS: a keyframe every ``gop_ms`` from ``from_ms`` on."""
    found: list[Packet] = []
    number = 0
    last = -1
    while video is not None and (dts := from_ms + round(number * 1000 / fps)) < until_ms:
        is_key = last < 0 or (dts - from_ms) // gop_ms > (last - from_ms) // gop_ms
        found.append(Packet(video, dts, dts, is_key, b"v" * size))
        last, number = dts, number + 1
    number = 0
    while audio is not None and (dts := from_ms + round(number * 1024 / 48)) < until_ms:
        found.append(Packet(audio, dts, dts, True, b"a" * 20))
        number += 1
    return sorted(found, key=lambda packet: packet.dts_ms)


def write(target: Muxer, packets: list[Packet], tick_ms: int = 100, each: Callable[[], None] = lambda: None) -> None:
    """Put ``packets`` on the muxer's stream in ticks, and do ``each`` after every one."""
    tick: list[Packet] = []
    for packet in packets:
        if tick and packet.dts_ms // tick_ms != tick[0].dts_ms // tick_ms:
            target.stream.write(tick)
            each()
            tick = []
        tick.append(packet)
    target.stream.write(tick)
    each()
