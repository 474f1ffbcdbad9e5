"""Player: fed from the keyframe on, paused with its socket, dropped when it reads nothing, told of the end."""

from relay.hub import BacklogLimit, Stream
from relay.ingest.player import Player
from tests.hub.media import audio, video


def test_a_player_is_fed_paused_and_told_of_the_end() -> None:
    stream = Stream("demo")
    stream.write([video(0, key=True), audio(1)])
    written: list[bytes] = []
    ends: list[Exception | None] = []
    player = Player(stream, written.append, ends.append, chunk_size=4096, stream_id=1, limit=BacklogLimit())
    assert len(written) == 1, "what is cached comes at once"
    stream.write([video(33)])
    assert len(written) == 2
    player.pause(10.0)
    stream.write([video(66)])
    assert len(written) == 2
    assert not player.is_stuck(14.0, 5.0)
    assert player.is_stuck(15.1, 5.0)
    player.resume()
    assert len(written) == 3
    assert not player.is_stuck(99.0, 5.0)
    stream.reset()
    assert ends == [None]


def test_one_that_leaves_is_told_nothing_more() -> None:
    stream = Stream("demo")
    written: list[bytes] = []
    ends: list[Exception | None] = []
    player = Player(stream, written.append, ends.append, chunk_size=4096, stream_id=1, limit=BacklogLimit())
    player.close()
    stream.write([video(0, key=True)])
    stream.reset()
    assert (written, ends) == ([], [])
