"""GopCache: starts at keyframes, stays bounded, holds nothing for audio alone."""

from relay.media import Codec, GopCache, Packet, Track

VIDEO = Track(codec=Codec.H264, header=b"v")
AUDIO = Track(codec=Codec.AAC, header=b"a")


def video(dts_ms: int, key: bool = False, size: int = 1) -> Packet:
    return Packet(VIDEO, dts_ms, dts_ms, key, b"v" * size)


def audio(dts_ms: int) -> Packet:
    return Packet(AUDIO, dts_ms, dts_ms, True, b"a")


def add(cache: GopCache, *packets: Packet) -> None:
    """As a stream does: a batch of them at once."""
    keyframes = [index for index, packet in enumerate(packets) if packet.is_video and packet.is_keyframe]
    cache.extend(packets, sum(len(packet.data) for packet in packets), keyframes[-1] if keyframes else -1)


def test_keeps_from_the_newest_keyframe_on() -> None:
    cache = GopCache()
    packets = (audio(0), video(0, key=True), audio(1), video(33), video(66, key=True), audio(67))
    add(cache, *packets)
    assert [(packet.dts_ms, packet.is_video) for packet in cache.packets] == [(66, True), (67, False)]
    cache = GopCache()
    for packet in packets:
        add(cache, packet)
    assert [(packet.dts_ms, packet.is_video) for packet in cache.packets] == [(66, True), (67, False)]


def test_nothing_before_the_first_keyframe_or_without_video() -> None:
    cache = GopCache()
    for packet in (audio(0), video(0), audio(23)):
        add(cache, packet)
    assert cache.packets == []


def test_over_the_limit_it_holds_nothing_until_the_next_keyframe() -> None:
    cache = GopCache(max_bytes=10)
    add(cache, video(0, key=True, size=6))
    add(cache, video(33, size=5))
    assert cache.packets == []
    add(cache, video(66, size=1))
    assert cache.packets == []
    add(cache, video(100, key=True, size=6))
    assert [packet.dts_ms for packet in cache.packets] == [100]


def test_a_new_keyframe_does_not_change_a_list_already_handed_out() -> None:
    cache = GopCache()
    add(cache, video(0, key=True))
    before = cache.packets
    add(cache, video(33, key=True))
    assert [packet.dts_ms for packet in before] == [0]
