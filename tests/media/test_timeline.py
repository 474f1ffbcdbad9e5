"""Timeline: wraps, jumps, outliers and drift vanish, true holes stay, DTS per track only grows, A/V stay together."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.media.timeline import FileClock, Timeline
from tests.media.encoder import Encoder

WRAP = 1 << 32


def test_plain_timestamps_stay_as_they_are() -> None:
    timeline = Timeline()
    assert [timeline.place(value, True) for value in (1000, 1033, 1066)] == [1000, 1033, 1066]
    assert timeline.repaired == 0


def test_the_32_bit_wrap_goes_on_counting() -> None:
    timeline = Timeline(WRAP - 20)
    assert timeline.place(WRAP - 20, True) == WRAP - 20
    assert timeline.place(13, True) == WRAP + 13
    assert timeline.place(3, False) == WRAP + 3
    assert timeline.place(46, True) == WRAP + 46


def test_a_stream_leaves_room_for_days() -> None:
    """Peers wrap at 2^31 or 2^32 themselves: what a publisher's clock shows at its start is no reason to meet that."""
    timeline = Timeline()
    assert [timeline.place(WRAP - 20, True), timeline.place(WRAP - 10, False), timeline.place(13, True)] == [0, 10, 33]
    assert Timeline().place(1 << 24, True) == 1 << 24


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


def test_each_track_has_a_floor_of_its_own() -> None:
    """The last packet before the link was lost was video or audio; neither track may step back."""
    timeline = Timeline(origin_ms=5021, floor_ms=(5020, 4990))
    assert (timeline.place(100, True), timeline.place(75, False)) == (5021, 4996)
    timeline = Timeline(origin_ms=5021, floor_ms=(5020, None))
    assert (timeline.place(100, False), timeline.place(80, True)) == (5021, 5021)


def test_files_are_read_as_they_were_written() -> None:
    clock = FileClock()
    stamps = [(WRAP - 40_000, True), (WRAP - 40_100, False), (20, True), (0, False), (90_000, False), (70_000, True)]
    placed = [clock.place(*stamp) for stamp in stamps]
    assert placed == [WRAP - 40_000, WRAP - 40_100, WRAP + 20, WRAP, WRAP + 90_000, WRAP + 70_000]


def test_the_first_packet_lands_on_its_origin_even_where_its_own_number_would_do() -> None:
    timeline = Timeline(origin_ms=962, floor_ms=960)
    assert [timeline.place(961, False), timeline.place(961, True)] == [962, 962]


# --- the quirks of encoders, by name ----------------------------------------------------------------------------------


def check(encoder: Encoder, *, jumps: int | None = 0, told: bool = True, shift_ms: float = 3) -> Timeline:
    """Nothing is lost or moved: A/V together, media time as captured but for ``shift_ms``, no hole."""
    timeline = Timeline()
    outcome = encoder.run(timeline, told=told, start_ms=7_000_000)
    outcome.check_growth()
    assert outcome.skew_ms() <= encoder.frames_ms
    assert outcome.shift_ms() <= shift_ms
    assert outcome.holes_ms() == []
    if jumps is not None:
        assert timeline.jumps == jumps
    return timeline


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("audio_lag_ms", [-250, 0, 250])
@pytest.mark.parametrize(("bits", "start"), [(24, 1 << 24), (31, 1 << 31), (32, 1 << 32), (32, 1 << 24), (32, 1 << 31)])
def test_clocks_that_wrap_at_24_31_and_32_bits(bits: int, start: int, audio_lag_ms: int, told: bool) -> None:
    encoder = Encoder(base_ms=(start - 5000, start - 5000), clock_bits=bits, audio_lag_ms=audio_lag_ms)
    timeline = check(encoder, told=told)
    assert timeline.repaired == 0


def test_a_24_bit_clock_runs_on_for_days() -> None:
    timeline = Timeline()
    last = {True: -1, False: -1}
    for at in range(0, 2 * 24 * 3600 * 1000, 500):
        timeline.arrived(at)
        for is_video in (True, False):
            dts = timeline.place(at & 0xFFFFFF, is_video)
            assert dts == at > last[is_video]
            last[is_video] = dts
    assert (timeline.jumps, timeline.repaired, timeline.nudged_ms) == (0, 0, 0)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("audio_lag_ms", [-250, 0, 250])
@pytest.mark.parametrize("by_ms", [-9000, -10_000, -300_000, 37_600_000, 15_000, -2500])
def test_a_jump_is_no_hole_and_is_made_by_both_tracks(by_ms: int, audio_lag_ms: int, told: bool) -> None:
    encoder = Encoder(base_ms=(400_000, 400_000), audio_lag_ms=audio_lag_ms).jump(9000, by_ms)
    check(encoder, jumps=2, told=told, shift_ms=encoder.frames_ms)


def test_a_reset_to_zero_and_another() -> None:
    encoder = Encoder(base_ms=(90_000, 90_000)).jump(8000, -98_000).jump(14_000, -6000)
    check(encoder, jumps=4, shift_ms=2 * encoder.frames_ms)


@pytest.mark.parametrize("tracks", ["v", "a", "va"])
@pytest.mark.parametrize("lasts_ms", [34, 150, 600])
@pytest.mark.parametrize("by_ms", [37_600_000, -37_600_000, -10_000, 12_000])
def test_after_an_outlier_the_old_base_goes_on(by_ms: int, lasts_ms: int, tracks: str) -> None:
    encoder = Encoder(base_ms=(50_000, 50_000)).jump(9000, by_ms, tracks=tracks, until_ms=9000 + lasts_ms)
    timeline = Timeline()
    outcome = encoder.run(timeline)
    outcome.check_growth()
    assert outcome.skew_ms() <= encoder.frames_ms
    for track in (outcome.video, outcome.audio):
        assert all(dts - at == pytest.approx(50_000, abs=2) for at, dts in track if not 9000 <= at < 9080 + lasts_ms)
    assert timeline.jumps > 0


@pytest.mark.parametrize("missing", ["v", "a"])
def test_one_track_alone_goes_on_through_jumps_outliers_and_holes(missing: str) -> None:
    encoder = Encoder(base_ms=(50_000, 50_000)).lose(0, 99_000, missing)
    encoder.jump(5000, -10_000).jump(9000, 37_600_000, until_ms=9100).lose(14_000, 16_500)
    outcome = encoder.run(Timeline())
    outcome.check_growth()
    assert outcome.holes_ms() == [pytest.approx(2500, abs=encoder.frames_ms)]
    assert outcome.shift_ms() <= encoder.frames_ms


def test_stamps_of_pure_noise_for_a_while_leave_the_old_base_known() -> None:
    encoder = Encoder()
    for number, packet in enumerate(encoder.packets):
        if 9000 <= packet.true_ms < 9500:
            packet.stamp = number * 2_654_435_761 % WRAP
    outcome = encoder.run(Timeline())
    outcome.check_growth()
    assert all(dts - at <= 2 for track in (outcome.video, outcome.audio) for at, dts in track if at > 9600)


def test_pts_sent_for_dts_is_lifted_and_moves_nothing() -> None:
    timeline = Timeline()
    stamps = [group * 160 + at for group in range(50) for at in (0, 120, 40, 80)]
    placed = [timeline.place(stamp, True) for stamp in stamps]
    assert all(earlier < later for earlier, later in pairwise(placed))
    assert placed[::4] == stamps[::4]
    assert (timeline.jumps, timeline.repaired) == (0, 100)


@pytest.mark.parametrize("base_ms", [(0, 5_000_000), (5_000_000, 0), (0, WRAP - 5000), (WRAP - 5000, 0)])
def test_tracks_on_clocks_of_their_own_are_aligned_by_arrival_and_jump_together(base_ms: tuple[int, int]) -> None:
    encoder = Encoder(base_ms=base_ms).jump(12_000, 100_000)
    outcome = encoder.run(Timeline())
    outcome.check_growth()
    assert outcome.skew_ms() <= 2 * encoder.frames_ms
    assert outcome.holes_ms() == []


def test_a_first_stamp_of_zero_before_the_real_clock() -> None:
    encoder = Encoder(base_ms=(5_000_000, 5_000_000))
    encoder.packets[0].stamp = 0
    check(encoder, jumps=None, shift_ms=encoder.frames_ms)


# --- holes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("length_ms", [700, 3000, 9000])
def test_what_was_not_sent_is_a_hole_of_that_length(length_ms: int, told: bool) -> None:
    encoder = Encoder().lose(6000, 6000 + length_ms)
    outcome = encoder.run(Timeline(), told=told)
    assert outcome.shift_ms() <= 2
    assert outcome.holes_ms() == [pytest.approx(length_ms, abs=encoder.frames_ms)]


def test_a_minute_of_pause_is_a_hole_of_a_minute() -> None:
    encoder = Encoder(length_ms=80_000).lose(6000, 66_000)
    assert encoder.run(Timeline()).holes_ms() == [pytest.approx(60_000, abs=encoder.frames_ms)]


def test_what_a_congested_encoder_drops_to_catch_up_is_a_hole() -> None:
    """The link stands for 15 s, the encoder throws 12 s of its queue away: no silence before the step forward."""
    encoder = Encoder(length_ms=30_000).stall(6000, 21_000).lose(8000, 20_000)
    outcome = encoder.run(Timeline())
    assert outcome.holes_ms() == [pytest.approx(12_000, abs=encoder.frames_ms)]
    assert outcome.shift_ms() <= 2


def test_a_new_clock_after_a_pause_goes_on_after_the_pause() -> None:
    encoder = Encoder(base_ms=(50_000, 50_000)).lose(6000, 11_000).jump(6000, -61_000)
    outcome = encoder.run(Timeline())
    outcome.check_growth()
    assert outcome.skew_ms() <= encoder.frames_ms
    assert outcome.holes_ms() == [pytest.approx(5000, abs=100)]


def test_a_starved_track_returns_where_it_belongs() -> None:
    for tracks in "va":
        outcome = Encoder(length_ms=60_000).lose(6000, 50_000, tracks).run(Timeline())
        assert outcome.shift_ms() <= 2


def test_a_file_sent_at_full_speed_passes_unchanged() -> None:
    encoder = Encoder(length_ms=200_000)
    for packet in encoder.packets:
        packet.arrival_ms /= 100
    timeline = check(encoder)
    assert (timeline.repaired, timeline.nudged_ms) == (0, 0)


# --- whatever comes ---------------------------------------------------------------------------------------------------


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
    shift = (first % WRAP if first % WRAP < 1 << 30 else 0) - first
    assert {key: [value + shift for value in values] for key, values in sent.items()} == placed


@given(st.lists(st.tuples(st.integers(0, WRAP - 1), st.booleans()), max_size=100))
def test_dts_grows_on_each_track_whatever_arrives(stamps: list[tuple[int, bool]]) -> None:
    timeline = Timeline()
    last: dict[bool, int] = {}
    for stamp, is_video in stamps:
        dts = timeline.place(stamp, is_video)
        assert is_video not in last or dts > last[is_video]
        last[is_video] = dts


def encoders(length_ms: int) -> st.SearchStrategy[Encoder]:
    return st.builds(
        Encoder,
        fps=FPS,
        rate=RATES,
        length_ms=st.just(length_ms),
        base_ms=STARTS.map(lambda start: (start, start)),
        clock_bits=st.sampled_from([32, 32, 31, 24]),
        lag_ms=st.sampled_from([300, 1000, 3000]),
        audio_lag_ms=st.sampled_from([-200, -100, 0, 50, 150, 300]),
    )


FPS = st.sampled_from([5, 10, 15, 23.976, 25, 29.97, 30, 50, 60])
RATES = st.sampled_from([16_000, 22_050, 32_000, 44_100, 48_000])
STARTS = st.sampled_from([0, (1 << 24) - 5000, (1 << 31) - 5000, WRAP - 5000]) | st.integers(0, WRAP - 1)
FAR = (
    st.sampled_from([-10_000, 37_600_000, -37_600_000]) | st.integers(1500, 5_000_000) | st.integers(-5_000_000, -1500)
)
TROUBLE = st.lists(
    st.tuples(
        st.sampled_from(["jump", "outlier", "outlier of one track", "loss", "stall"]),
        FAR | st.none(),  # None: to zero
        st.floats(0, 1),
        st.sampled_from("va"),
    ),
    min_size=1,
    max_size=3,
)


@given(encoders(14_000), TROUBLE, st.sampled_from([5, 20, 100]))
@settings(max_examples=500, deadline=None, derandomize=True)  # a failure is a change's
def test_through_any_trouble_tracks_grow_stay_together_and_keep_the_time(
    encoder: Encoder, trouble: list[tuple[str, int | None, float, str]], read_ms: int
) -> None:
    moved_ms, unsettled = 4.0, []
    for number, (kind, far, part, track) in enumerate(trouble):
        at = 2000 + 4000 * number + 1000 * part
        by = -int(at) - encoder.base_ms[0] if far is None else far
        end = at + 30 + 350 * part
        if kind == "jump":
            encoder.jump(at, by)
        elif kind == "outlier":
            encoder.jump(at, by, until_ms=end)
        elif kind == "outlier of one track":
            encoder.jump(at, by, until_ms=end, tracks=track)
        elif kind == "loss":
            encoder.lose(at, at + 200 + 2000 * part)
        else:
            encoder.stall(at, at + 200 + 2000 * part)
        moved_ms += 2 * encoder.frames_ms
        unsettled.append((at, end + 1000))
    outcome = encoder.in_order().run(Timeline(), read_ms=read_ms)
    outcome.check_growth()
    assert outcome.skew_ms(unsettled) <= encoder.frames_ms
    assert outcome.skew_ms() <= encoder.frames_ms + 1000  # jumps may add up to a step small enough to be taken as sent
    assert outcome.shift_ms() <= moved_ms + 1000


@given(encoders(8000), st.integers(-1500, 1500), st.floats(0, 1), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None, derandomize=True)  # a failure is a change's
def test_a_small_whim_moves_no_more_than_it_is_and_leaves_the_tracks_together(
    encoder: Encoder, by_ms: int, part: float, lasts: bool, told: bool
) -> None:
    at = 2500 + 500 * part
    encoder.jump(at, by_ms, until_ms=math.inf if lasts else at + 200)
    outcome = encoder.run(Timeline(), told=told)
    outcome.check_growth()
    assert outcome.skew_ms([(at, at + 2500)]) <= encoder.frames_ms
    assert outcome.shift_ms() <= 4 + abs(by_ms) + 2 * encoder.frames_ms


@given(st.lists(st.tuples(encoders(3000), st.integers(1, 60_000), st.integers(1000, 3000)), min_size=2, max_size=6))
@settings(max_examples=250, deadline=None, derandomize=True)  # a failure is a change's
def test_reconnects_of_any_number_stay_on_one_timeline(sessions: list[tuple[Encoder, int, int]]) -> None:
    last: tuple[int | None, int | None] = (None, None)
    for encoder, away_ms, length_ms in sessions:
        encoder.lose(length_ms, math.inf)
        ends = [end for end in last if end is not None]
        timeline = Timeline(max(ends) + away_ms, last) if ends else Timeline()
        outcome = encoder.run(timeline)
        outcome.check_growth()
        assert outcome.skew_ms() <= encoder.frames_ms + (0 if away_ms > 300 else 300)
        for track, end in zip((outcome.video, outcome.audio), last, strict=True):
            assert end is None or track[0][1] > end
        if ends:
            first = min(encoder.packets, key=lambda packet: packet.arrival_ms)
            begin = (outcome.video if first.is_video else outcome.audio)[0][1]
            assert begin == max(ends) + away_ms
        last = (outcome.video[-1][1], outcome.audio[-1][1])


def test_a_publisher_that_takes_its_time_after_connecting_lands_later_by_that() -> None:
    timeline = Timeline(5000, 4000, 1_000_000)
    timeline.arrived(1_000_700)
    assert timeline.place(77, True) == 5700
    assert timeline.place(77, False) == 5700
    assert Timeline(5000, 4000, 1_000_000).place(77, True) == 5000, "not told the time"
