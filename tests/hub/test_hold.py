"""HeldStream: what destinations get has no holes, and nothing in it goes back in time or starts without a keyframe."""

from itertools import pairwise

import pytest

from relay.hub import Batch
from relay.hub.filler import Loop
from relay.hub.hold import Filling
from relay.media import Codec, Packet, Track
from relay.protocol.silence import SILENT_AAC
from tests.hub.show import AUDIO, FRAME_MS, VIDEO, Show


def test_a_stream_in_good_order_is_passed_on_as_it_is() -> None:
    show = Show()
    batches: list[Batch] = []
    show.stream.subscribe(Collector(batches), whole=True)
    passed: list[Batch] = []
    show.held.out.subscribe(Collector(passed), whole=True)
    show.play(10)
    assert show.watcher.packets == show.sent
    assert [id(batch) for batch in batches[1:]] == [id(batch) for batch in passed[1:]], (
        "what is encoded for one serves all"
    )
    assert show.held.filler_packets == 0


class Collector:
    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches

    def take(self, batch: Batch) -> None:
        self._batches.append(batch)

    def ended(self, error: Exception | None) -> None:
        assert error is None


@pytest.mark.parametrize("told_after", [0.0, 5.0])
@pytest.mark.parametrize("gone", [3.0, 60.0])
def test_a_publisher_that_is_away_leaves_no_hole(gone: float, told_after: float) -> None:
    show = Show()
    show.play(4)
    if told_after > gone:
        return
    show.away(gone, told_after=told_after)
    filler = show.watcher.packets[len(show.sent) :]
    pictures = [packet for packet in filler if packet.is_video]
    assert all(packet.is_keyframe and packet.track is VIDEO for packet in pictures)
    assert len(pictures) == pytest.approx((gone - told_after) * 2, abs=2)
    show.play(4)
    show.check(most_ms=700 + round(told_after * 1000), sound_ms=100)
    returned = [packet for packet in show.watcher.packets if packet in show.sent[-20:]]
    assert returned, "live again"
    assert len(list(show.watcher.track(False))) == pytest.approx((8 + gone) * 1000 / 21, rel=0.03)


def test_the_first_picture_after_filler_is_a_keyframe_and_sound_comes_with_it() -> None:
    show = Show()
    show.play(4)
    before = len(show.watcher.packets)
    show.away(4)
    returned_ms = show.ms
    show.play(4, first=30)  # the first keyframe comes 1.2 s later
    live = [packet for packet in show.watcher.packets[before:] if packet in show.sent]
    assert (live[0].is_video, live[0].is_keyframe, live[0].dts_ms) == (True, True, returned_ms + 30 * FRAME_MS)
    show.check(most_ms=700, sound_ms=100)


def test_sound_returns_alone_when_no_keyframe_comes_for_long() -> None:
    show = Show()
    show.play(4)
    show.away(4)
    returned_ms = show.ms
    show.play(10, first=200, gop=1000)  # 8 s without a keyframe
    sound = [packet.dts_ms for packet in show.watcher.track(False) if packet.data == b"sound" and packet.dts_ms > 8000]
    assert returned_ms + 2900 <= sound[0] <= returned_ms + 3500
    pictures = [packet for packet in show.watcher.track(True) if packet in show.sent and packet.dts_ms >= returned_ms]
    assert pictures[0].dts_ms == returned_ms + 8000
    show.check(most_ms=900, sound_ms=250)


def test_what_was_stuck_on_the_way_is_left_out_when_it_catches_up() -> None:
    """A link that stood still for 8 s and then delivered all at once: platforms do not fall behind for it."""
    show = Show()
    show.play(4)
    show.clock.sleep(5)
    show.held.hold()
    show.clock.sleep(3)
    show.play(8, pace=0.05)
    show.play(6)
    show.check(most_ms=5700, sound_ms=100)
    assert show.watcher.packets[-1].dts_ms == show.sent[-1].dts_ms, "not moved"
    assert show.held.filler_packets > 0


def test_what_never_catches_up_is_shown_late() -> None:
    show = Show()
    show.play(4)
    show.clock.sleep(5)
    show.held.hold()
    show.clock.sleep(5)
    show.play(20)  # 10 s behind, for good
    show.check(most_ms=5700, sound_ms=100)
    last = show.watcher.packets[-1]
    assert last.data == show.sent[-1].data
    moved_ms = last.dts_ms - show.sent[-1].dts_ms
    assert 9_000 <= moved_ms <= 16_000
    offsets = {
        packet.dts_ms - (moved_ms if packet.dts_ms > 20_000 else 0) - found.dts_ms
        for packet in show.watcher.packets[-40:]
        for found in show.sent
        if found.data is packet.data and found.track is packet.track and found.dts_ms == packet.dts_ms - moved_ms
    }
    assert offsets == {0}, "sound and picture move together"


def test_a_picture_that_stays_away_is_frozen_under_live_sound() -> None:
    show = Show()
    show.play(4)
    show.play(30, video=False)
    show.play(4, first=10)
    show.check(most_ms=3700, sound_ms=43)
    assert [packet for packet in show.sent if not packet.is_video] == show.watcher.track(False)
    frozen = [packet for packet in show.watcher.track(True) if 8000 < packet.dts_ms < 33000]
    assert all(packet.is_keyframe for packet in frozen)
    assert len(frozen) >= 40
    live = [packet for packet in show.watcher.track(True) if packet.dts_ms >= 34_000 and packet in show.sent]
    assert live[0].is_keyframe


def test_sound_that_stays_away_is_silence_under_a_live_picture() -> None:
    show = Show()
    show.play(4)
    show.play(30, audio=False)
    show.play(4)
    assert [packet for packet in show.sent if packet.is_video] == show.watcher.track(True)
    show.check(most_ms=FRAME_MS, sound_ms=300)
    assert all(packet.track is AUDIO for packet in show.watcher.track(False)), "in the publisher's own format"
    assert show.watcher.track(False)[-1] is show.sent[-1] or show.sent[-1].track.codec.kind != "audio"


def test_slow_pictures_are_no_fault() -> None:
    """A shared screen of one picture in two seconds."""
    show = Show()
    show.play(2)
    for _ in range(20):
        show.play(2, video=False)
        show.stream.write([Packet(VIDEO, show.ms, show.ms, False, b"slow")])
        show.sent.append(Packet(VIDEO, show.ms, show.ms, False, b"slow"))
    assert show.held.filler_packets == 0


def test_silence_from_the_start_where_a_platform_wants_sound() -> None:
    show = Show(Filling(sound=True))
    show.play(0.8, audio=False)
    assert show.watcher.packets == [], "not before it is known whether there is sound"
    show.play(5, audio=False)
    sound = show.watcher.track(False)
    assert all(packet.track is SILENT_AAC for packet in sound)
    assert sound[0].dts_ms <= show.watcher.track(True)[0].dts_ms + 22
    assert len(sound) == pytest.approx(5.8 * 1000 / 21.33, abs=12)
    assert show.watcher.track(True) == show.sent
    show.away(5)
    show.play(2, audio=False)
    show.check(most_ms=700, sound_ms=250)


def test_metadata_without_sound_is_believed_at_once() -> None:
    show = Show(Filling(sound=True))
    show.stream.metadata = {"videocodecid": 7}
    show.play(0.2, audio=False)
    assert show.watcher.track(False)


def test_a_stream_that_has_sound_is_not_given_any() -> None:
    show = Show(Filling(sound=True))
    show.play(5)
    assert show.watcher.packets == show.sent


def test_sound_alone_is_held_by_silence() -> None:
    show = Show()
    show.play(3, video=False)
    show.away(10)
    show.play(3, video=False)
    assert show.watcher.track(True) == []
    times = [packet.dts_ms for packet in show.watcher.track(False)]
    assert all(0 < later - earlier < 100 for earlier, later in pairwise(times))


def test_a_loop_is_shown_instead_of_the_last_picture() -> None:
    show = Show()
    slate = Track(codec=Codec.H264, header=b"another")
    loop = Loop([Packet(slate, ms, ms, ms == 0, b"slate") for ms in range(0, 1000, 40)], 1000)
    show.play(4)
    show.held.hold()
    show.held.show(loop)
    show.away(6.3)
    shown = [packet for packet in show.watcher.track(True) if packet.track is slate]
    assert len(shown) == pytest.approx(5.9 * 25, abs=4)
    assert shown[0].is_keyframe
    show.play(4)
    show.check(most_ms=450, sound_ms=100)
    assert show.watcher.track(True)[-1].track is VIDEO


def test_a_picture_may_be_the_slate() -> None:
    show = Show()
    slate = Packet(Track(codec=Codec.H264, header=b"another"), 0, 0, True, b"slate")
    show.play(4)
    show.held.hold()
    show.held.show(Loop([slate], 0))
    show.away(6)
    shown = [packet for packet in show.watcher.track(True) if packet.track is slate.track]
    assert len(shown) == pytest.approx(5.6 * 2, abs=2)
    show.play(4)
    show.check(most_ms=900, sound_ms=100)
    assert show.watcher.track(True)[-1].track is VIDEO


def test_nothing_is_filled_in_where_that_is_switched_off() -> None:
    show = Show(Filling(hold=False, sound=True))
    show.play(4)
    show.away(10)
    show.play(2, first=5)
    assert show.watcher.packets == show.sent


def test_the_end_is_the_end_for_readers_too() -> None:
    show = Show()
    show.play(4)
    show.away(2)
    show.stream.reset()
    assert show.watcher.is_over
    count = len(show.watcher.packets)
    show.clock.sleep(5)
    assert len(show.watcher.packets) == count


def test_outages_again_and_again_move_nothing() -> None:
    show = Show()
    for gone in (3.0, 7.0, 12.0, 4.0, 30.0, 5.0, 3.3):
        show.play(6)
        show.away(gone, told_after=min(gone, 1.0))
    show.play(6)
    show.check(most_ms=1700, sound_ms=120)
    assert show.watcher.packets[-1] is show.sent[-1]


def test_a_picture_that_comes_after_the_sound_is_waited_for() -> None:
    show = Show()
    show.play(0.6, video=False)
    assert show.watcher.packets == []
    show.play(2)
    first = show.watcher.packets[0]
    assert (first.is_video, first.is_keyframe, first.dts_ms) == (True, True, 600)
    assert show.watcher.packets == [packet for packet in show.sent if packet.dts_ms >= 600]


def test_sound_that_says_it_is_alone_is_not_kept_waiting() -> None:
    show = Show()
    show.stream.metadata = {"audiocodecid": 10}
    show.play(0.2, video=False)
    assert show.watcher.packets == show.sent


def test_sound_alone_that_says_nothing_waits_a_second() -> None:
    show = Show()
    show.play(2, video=False)
    assert show.watcher.packets == show.sent


def test_holds_in_quick_succession_do_not_tick_twice() -> None:
    show = Show()
    show.play(2)
    for _ in range(5):
        show.held.hold()
        show.ms += 20
        show.stream.write([Packet(VIDEO, show.ms, show.ms, True, b"\0\0\0\1\x65")])
        assert not show.held.is_held
    show.held.hold()
    assert len(show.clock._parked) == 1
    show.clock.sleep(1)
    assert len(show.clock._parked) == 1


def test_a_clip_with_sound_is_heard_without_silence_beside_it() -> None:
    show = Show()
    slate = Track(codec=Codec.H264, header=b"another")
    clip = [Packet(slate, ms, ms, ms == 0, b"slate") for ms in range(0, 1000, 40)]
    clip += [Packet(AUDIO, ms, ms, True, b"music") for ms in range(0, 1000, 20)]
    show.play(4)
    show.held.hold()
    show.clock.sleep(2)
    show.held.show(Loop(sorted(clip, key=lambda packet: packet.dts_ms), 1000))
    show.clock.sleep(6)
    show.ms += 8000
    heard = [packet for packet in show.watcher.track(False) if packet.data == b"music"]
    assert len(heard) == pytest.approx(6 * 50, abs=12)
    after = [packet.data for packet in show.watcher.track(False) if packet.dts_ms > heard[0].dts_ms]
    assert set(after) == {b"music"}
    show.play(2)
    show.check(most_ms=700, sound_ms=450)


def test_a_tail_that_comes_after_the_publisher_went_ends_no_hold() -> None:
    """Of a transcoder that was some hundred milliseconds behind."""
    show = Show()
    show.play(4)
    show.away_since = show.clock.now
    show.held.hold()
    show.clock.sleep(0.2)
    show.stream.write([Packet(VIDEO, show.ms + 40, show.ms + 40, True, b"\0\0\0\1\x65")])
    assert show.held.is_held
    show.clock.sleep(5)
    show.ms += 5200
    assert len(show.watcher.packets) > len(show.sent) + 100
    show.away_since = None
    show.play(2)
    assert not show.held.is_held
    show.check(most_ms=900, sound_ms=100)


def test_a_hold_that_began_before_the_first_media_goes_by_the_publishers_time() -> None:
    show = Show()
    show.away_since = show.clock.now - 60
    show.stream.write([Packet(VIDEO, 0, 0, True, b"\0\0\0\1\x65"), Packet(AUDIO, 1, 1, True, b"sound")])
    assert show.held.is_held
    show.clock.sleep(1)
    assert show.watcher.packets[-1].dts_ms > 59_000


def test_the_picture_that_returns_under_sound_is_never_without_its_keyframe() -> None:
    """The keyframe was sent a little before the sound that filler was paced by."""
    show = Show()
    show.play(4)
    show.play(8, video=False)
    late_ms = show.ms - 300
    late = [Packet(VIDEO, late_ms + 40 * n, late_ms + 40 * n, n == 0, b"\0\0\0\1\x65late") for n in range(20)]
    show.stream.write(late)
    shown = [packet for packet in show.watcher.track(True) if packet.data.endswith(b"late")]
    assert not shown or shown[0].is_keyframe
