"""Timeline: 32-bit wraps vanish, DTS per track only grows, the offset serves both tracks."""

from hypothesis import given
from hypothesis import strategies as st

from relay.media.timeline import Timeline

WRAP = 1 << 32


def test_plain_timestamps_stay_as_they_are() -> None:
    timeline = Timeline()
    assert [timeline.place(value, True) for value in (1000, 1033, 1066)] == [1000, 1033, 1066]
    assert timeline.repaired == 0


def test_the_32_bit_wrap_goes_on_counting() -> None:
    timeline = Timeline()
    assert timeline.place(WRAP - 20, True) == WRAP - 20
    assert timeline.place(13, True) == WRAP + 13
    assert timeline.place(3, False) == WRAP + 3
    assert timeline.place(46, True) == WRAP + 46


def test_a_reconnected_publisher_lands_at_its_origin_with_audio_and_video_together() -> None:
    timeline = Timeline(origin_ms=5000, floor_ms=4000)
    assert timeline.place(0, True) == 5000
    assert timeline.place(10, False) == 5010
    assert timeline.place(33, True) == 5033


def test_a_step_below_the_floor_is_lifted_and_counted() -> None:
    timeline = Timeline(origin_ms=5000, floor_ms=5000)
    assert timeline.place(100, True) == 5001
    assert timeline.place(90, False) == 5001
    assert timeline.repaired == 2


@given(st.integers(0, WRAP - 1), st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=200))
def test_steady_media_keeps_its_spacing_from_any_start(start: int, steps: list[tuple[int, bool]]) -> None:
    timeline = Timeline()
    at = start
    placed: dict[bool, list[int]] = {True: [], False: []}
    sent: dict[bool, list[int]] = {True: [], False: []}
    for step, is_video in steps:
        at += step + 1
        sent[is_video].append(at)
        placed[is_video].append(timeline.place(at % WRAP, is_video))
    first = next((at for at in (sorted(sent[True] + sent[False]))), 0)
    shift = first % WRAP - first
    assert {key: [value + shift for value in values] for key, values in sent.items()} == placed


@given(st.lists(st.tuples(st.integers(0, WRAP - 1), st.booleans()), max_size=100))
def test_dts_grows_on_each_track_whatever_arrives(stamps: list[tuple[int, bool]]) -> None:
    timeline = Timeline()
    last: dict[bool, int] = {}
    for stamp, is_video in stamps:
        dts = timeline.place(stamp, is_video)
        assert is_video not in last or dts > last[is_video]
        last[is_video] = dts
