"""Stream: counters, tracks and what is durable."""

from relay.hub import Stream
from relay.media import Codec, Track
from tests.hub.media import AUDIO, VIDEO, audio, video


def test_counts_tracks_and_keyframe_interval() -> None:
    stream = Stream("demo")
    stream.write([video(0, key=True), audio(0)])
    stream.write([video(33), audio(23)])
    stream.write([video(2000, key=True)])
    assert stream.tracks == (VIDEO, AUDIO)
    assert (stream.seq, stream.last_dts_ms) == (5, 2000)
    assert (stream.stats.video_packets, stream.stats.audio_packets) == (3, 2)
    assert stream.stats.keyframe_interval_ms == 2000


def test_knows_how_far_each_track_and_the_stream_have_come() -> None:
    stream = Stream("demo")
    stream.write([audio(10)])
    assert (stream.last_video_ms, stream.last_audio_ms, stream.last_dts_ms) == (None, 10, 10)
    stream.write([video(60, key=True), audio(31)])
    assert (stream.last_video_ms, stream.last_audio_ms, stream.last_dts_ms) == (60, 31, 60)
    stream.write([audio(52)])
    assert (stream.last_video_ms, stream.last_audio_ms, stream.last_dts_ms) == (60, 52, 60)


def test_without_a_keeper_everything_written_is_durable_at_once() -> None:
    stream = Stream("demo")
    told: list[int] = []
    stream.on_commit(told.append)
    stream.write([video(0, key=True), audio(0)])
    assert (told, stream.durable_seq) == ([2], 2)


def test_with_a_keeper_only_its_commits_count_until_it_leaves() -> None:
    stream = Stream("demo")
    told: list[int] = []
    stream.on_commit(told.append)
    stream.set_keeper(True)
    stream.write([video(0, key=True)])
    stream.write([video(33)])
    assert told == []
    stream.commit(1)
    assert told == [1]
    stream.set_keeper(False)
    assert told == [1, 2]


def test_a_changed_header_opens_the_next_batch() -> None:
    stream = Stream("demo")
    turned = Track(codec=Codec.H264, header=b"w")
    stream.write([video(0, key=True)])
    batch = stream.write([video(33, key=True, track=turned)])
    assert batch.opening == (VIDEO, None)
    assert batch.closing == (turned, None)


def test_reset_forgets_media_but_not_totals() -> None:
    stream = Stream("demo")
    stream.write([video(0, key=True)])
    stream.metadata = {"encoder": "x"}
    stream.reset()
    assert stream.tracks == (None, None)
    assert stream.metadata == {}
    assert (stream.last_dts_ms, stream.last_video_ms, stream.last_audio_ms) == (None, None, None)
    assert (stream.seq, stream.stats.video_packets) == (1, 1)


def test_after_a_loss_the_publisher_hears_nothing_more_but_its_successor_does() -> None:
    stream = Stream("demo")
    told: list[int] = []
    stream.set_keeper(True)
    stream.on_commit(told.append)
    stream.write([video(0, key=True)])
    stream.commit(1)
    stream.commit_lost()
    stream.write([video(33)])
    stream.commit(2)
    assert (told, stream.durable_seq, stream.is_losing) == ([1], 1, True)
    stream.on_commit(told.append)
    assert not stream.is_losing
    stream.write([video(66)])
    stream.commit(3)
    assert told == [1, 3]
