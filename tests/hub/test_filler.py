"""Filler: keyframes that alternate, loops that go round, silence without seams."""

from itertools import pairwise

from relay.hub.filler import FrozenPicture, Loop, RunningLoop, RunningSilence
from relay.media import Codec, Packet, Track
from relay.protocol import codecs
from tests.egress.media import packets_of
from tests.support import clips

SOUND = codecs.read_track(Codec.AAC, b"\x11\x90")


def test_a_real_keyframe_is_shown_in_turns_that_differ() -> None:
    keyframe = next(packet for packet in packets_of(clips.make(clips.H264_B)) if packet.is_keyframe and packet.is_video)
    picture = FrozenPicture()
    assert picture.at(0) is None
    picture.keyframe = keyframe
    shown = [picture.at(1000 + turn * 500) for turn in range(4)]
    assert all(packet is not None and packet.track is keyframe.track for packet in shown)
    data = [packet.data for packet in shown if packet is not None]
    assert data[0] != data[1] == data[3]
    assert data[0] == data[2]
    assert keyframe.data not in data, "the publisher's own number is another still"
    first = shown[0]
    assert first is not None
    assert (first.dts_ms, first.pts_ms - first.dts_ms) == (1000, keyframe.pts_ms - keyframe.dts_ms)


def test_a_new_keyframe_is_shown_from_then_on() -> None:
    track = Track(codec=Codec.VP9)
    picture = FrozenPicture()
    picture.keyframe = Packet(track, 0, 0, True, b"one")
    picture.at(0)
    picture.keyframe = Packet(track, 40, 40, True, b"two")
    again = picture.at(1000)
    assert again is not None
    assert (again.data, again.dts_ms) == (b"two", 1000)


def test_a_loop_goes_round_without_a_seam() -> None:
    track = Track(codec=Codec.H264)
    loop = Loop([Packet(track, ms, ms + 40, ms == 0, b"%d" % ms) for ms in (0, 40, 80)], 120)
    running = RunningLoop(loop, 5000)
    shown = running.until(5200)
    assert [packet.dts_ms for packet in shown] == [5000, 5040, 5080, 5120, 5160, 5200]
    assert [packet.data for packet in shown] == [b"0", b"40", b"80"] * 2
    assert running.until(5239) == []
    assert [packet.dts_ms for packet in running.until(5240)] == [5240]


def test_silence_is_frame_after_frame_for_hours() -> None:
    silence = RunningSilence.after(SOUND, 1000, 0)
    assert silence is not None
    first = silence.until(2000)
    assert first[0].dts_ms == 1021
    hour = silence.until(3_600_000)
    steps = {later.dts_ms - earlier.dts_ms for earlier, later in pairwise(first + hour)}
    assert steps == {21, 22}
    assert abs(hour[-1].dts_ms - 3_600_000) < 22
    assert all(packet.track is SOUND and packet.is_keyframe for packet in hour)
    more = silence.before(3_601_000)
    assert 3_601_000 - 32 <= more[-1].dts_ms <= 3_601_000 - 11


def test_silence_may_be_the_beginning_or_impossible() -> None:
    begun = RunningSilence.after(SOUND, None, 700)
    assert begun is not None
    assert begun.until(700)[0].dts_ms == 700
    assert RunningSilence.after(Track(codec=Codec.FLAC, header=b"x"), 0, 0) is None
