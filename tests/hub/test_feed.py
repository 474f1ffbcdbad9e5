"""RtmpFeed: headers first, headers again when they changed unseen, one shared encoding for peers alike."""

from relay.hub import Stream
from relay.hub.feed import RtmpFeed
from relay.media import Codec, Track
from relay.protocol.rtmp.chunk import ChunkReader, Message
from tests.hub.media import audio, video


class Peer:
    """A reader whose bytes are read back as messages."""

    def __init__(self, stream: Stream, *, chunk_size: int = 60_000, stream_id: int = 1) -> None:
        self.writes: list[bytes] = []
        self.feed = RtmpFeed(
            self.writes.append, chunk_size=chunk_size, stream_id=stream_id, publishing=True, metadata={}
        )
        self.subscription = stream.subscribe(self)
        self._chunk_size = chunk_size

    def take(self, batch: object) -> None:
        self.feed.take(batch)  # type: ignore[arg-type]

    def ended(self, error: Exception | None) -> None:
        assert error is None, error

    @property
    def messages(self) -> list[Message]:
        reader, out = ChunkReader(), []
        reader._chunk_size = self._chunk_size
        reader.read(b"".join(self.writes), out)
        return out

    @property
    def kinds(self) -> list[str]:
        names = {
            b"\x17\x00": "video header",
            b"\xaf\x00": "audio header",
            b"\x17\x01": "keyframe",
            b"\x27\x01": "video",
        }
        return ["metadata" if item.type_id == 18 else names.get(item.payload[:2], "audio") for item in self.messages]


def test_a_peer_begins_with_metadata_headers_and_a_keyframe() -> None:
    stream = Stream("demo")
    peer = Peer(stream)
    stream.write([video(0)])
    stream.write([audio(5), video(10, key=True), audio(12)])
    stream.write([video(43)])
    assert peer.kinds == ["metadata", "video header", "audio header", "keyframe", "audio", "video"]
    assert len(peer.writes) == 2


def test_peers_alike_share_their_bytes_and_others_do_not() -> None:
    stream = Stream("demo")
    first, second, other = Peer(stream), Peer(stream), Peer(stream, stream_id=5)
    stream.write([video(0, key=True)])
    stream.write([video(33)])
    assert first.writes[1] is second.writes[1]
    assert other.writes[1] is not first.writes[1]
    assert other.kinds == first.kinds


def test_a_header_that_changed_among_dropped_packets_is_sent_before_the_next_keyframe() -> None:
    stream = Stream("demo")
    peer = Peer(stream)
    stream.write([video(0, key=True), audio(1)])
    peer.subscription.pause()
    turned = Track(codec=Codec.H264, header=b"turned")
    stream.write([video(33, key=True, track=turned)])
    for dts in range(66, 14_000, 33):
        stream.write([video(dts, track=turned)])
    stream.write([video(14_000, key=True, track=turned)])
    peer.subscription.resume()
    assert peer.subscription.dropped_packets > 0
    assert peer.kinds[-3:] == ["audio", "video header", "keyframe"]
    assert peer.messages[-2].payload.endswith(b"turned")
