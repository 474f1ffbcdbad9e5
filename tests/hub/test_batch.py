"""Batch: what is shared is made once; a cut batch opens with the headers it needs."""

from relay.hub.batch import Batch, follow
from relay.media import Codec, Track
from tests.hub.media import AUDIO, VIDEO, audio, video


def test_encodings_are_made_once_per_key() -> None:
    batch = Batch([video(0, key=True)], (None, None), 1)
    calls: list[str] = []

    def encode(_: Batch) -> bytes:
        calls.append("made")
        return b"bytes"

    assert batch.shared("a", encode) is batch.shared("a", encode)
    batch.shared("b", encode)
    assert calls == ["made", "made"]


def test_start_is_the_first_keyframe_or_any_packet_without_video() -> None:
    assert Batch([audio(0), video(0, key=True)], (None, None), 2).start == 1
    assert Batch([audio(0), video(0)], (VIDEO, AUDIO), 2).start == -1
    assert Batch([audio(0)], (None, AUDIO), 1).start == 0
    assert Batch([audio(0)], (VIDEO, AUDIO), 1).start == -1


def test_from_start_opens_with_the_tracks_of_its_keyframe() -> None:
    turned = Track(codec=Codec.H264, header=b"w")
    batch = Batch([video(0), audio(1), video(2, key=True, track=turned), audio(3)], (VIDEO, None), 9)
    cut = batch.from_start()
    assert [packet.dts_ms for packet in cut.packets] == [2, 3]
    assert cut.opening == (turned, AUDIO)
    assert cut.closing == (turned, AUDIO)
    assert cut.seq == 9
    assert cut.size == 2


def test_notes_where_the_last_of_each_kind_is() -> None:
    packets = [video(0, key=True), audio(1), video(2, key=True), video(3), audio(4), audio(5)]
    batch = Batch(packets, (None, None), 6)
    assert (batch.videos, batch.last_video, batch.last_audio, batch.last_keyframe, batch.start) == (3, 3, 5, 2, 0)
    alone = Batch([audio(1)], (VIDEO, AUDIO), 1)
    assert (alone.videos, alone.last_video, alone.last_audio, alone.last_keyframe, alone.start) == (0, -1, 0, -1, -1)


def test_sizes_times_and_tracks() -> None:
    batch = Batch([audio(5), video(7, size=10)], (None, None), 2)
    assert (batch.size, batch.first_dts_ms, batch.last_dts_ms) == (11, 5, 7)
    assert follow((None, None), batch.packets) == batch.closing == (VIDEO, AUDIO)
