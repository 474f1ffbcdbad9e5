"""Drift: an audio clock that runs away is brought back by milliseconds; bursts, jitter and congestion move nothing."""

import random
from itertools import pairwise

import pytest

from relay.media.drift import SAMPLE_MS, Drift
from relay.media.timeline import Timeline
from tests.media.encoder import Encoder


def settled(skew_ms: int) -> Drift:
    """An estimate after two minutes of steady media."""
    drift = Drift()
    assert not any(drift.sample(skew_ms) for _ in range(400))
    return drift


def test_jitter_moves_nothing() -> None:
    drift, chance = settled(-40), random.Random(1)
    assert not any(drift.sample(-40 + chance.randint(-300, 300)) for _ in range(50_000))


def test_a_burst_moves_nothing() -> None:
    drift = settled(30)
    for _ in range(20):
        assert not any(drift.sample(30 - 4000) for _ in range(60))  # 20 s at a time
        assert not any(drift.sample(30) for _ in range(120))


def test_a_runaway_clock_is_brought_back_to_where_it_was() -> None:
    for sign in (1, -1):
        drift, skew, moved, worst = settled(100), 100.0, 0, 0.0
        for _ in range(3 * 3600 * 1000 // SAMPLE_MS):
            skew += sign * 0.0005 * SAMPLE_MS
            moved += drift.sample(round(skew + moved))
            worst = max(worst, abs(skew + moved - 100))
        assert worst < 160
        assert abs(abs(moved) - 3 * 3600 * 0.5) < 160
        assert moved * sign < 0


@pytest.mark.parametrize("pace", [1.0005, 0.9995])
def test_a_publisher_whose_audio_clock_is_off_keeps_audio_and_video_together(pace: float) -> None:
    encoder = Encoder(fps=15, rate=16_000, length_ms=2 * 3600 * 1000, audio_pace=pace, base_ms=(1 << 23, 1 << 23))
    timeline = Timeline()
    outcome = encoder.run(timeline, read_ms=100)
    outcome.check_growth()
    assert outcome.skew_ms() <= 150 + encoder.frames_ms
    assert abs(abs(timeline.nudged_ms) - 3600) <= 200
    assert (timeline.jumps, timeline.repaired) == (0, 0)
    steps = {later[1] - earlier[1] for earlier, later in pairwise(outcome.audio)}
    assert steps <= {62, 63, 64, 65, 66}


def test_a_corrected_clock_keeps_its_correction_through_an_outlier() -> None:
    encoder = Encoder(fps=15, rate=16_000, length_ms=40 * 60_000, audio_pace=1.0005)
    encoder.jump(30 * 60_000, 37_600_000, until_ms=30 * 60_000 + 200)
    timeline = Timeline()
    outcome = encoder.run(timeline, read_ms=100)
    outcome.check_growth()
    assert timeline.nudged_ms < -500
    assert timeline.jumps == 4
    assert outcome.skew_ms() <= 150 + encoder.frames_ms


def test_ordinary_streams_come_out_as_they_were_sent() -> None:
    """Jitter, stalls, a starved track and minutes in which video is queued while audio overtakes it."""
    chance = random.Random(7)
    encoder = Encoder(fps=15, rate=16_000, length_ms=30 * 60_000, audio_lag_ms=60)
    for packet in encoder.packets:
        packet.arrival_ms += chance.uniform(0, 20)
    for minute in range(2, 30, 3):
        encoder.stall(minute * 60_000, minute * 60_000 + 8000)
    encoder.lose(12.5 * 60_000, 14 * 60_000, "v").lose(15.5 * 60_000, 17 * 60_000, "a")
    for packet in encoder.packets:
        if packet.is_video:
            packet.arrival_ms += max(0, min(1500, (packet.true_ms - 1_200_000) / 20, (1_500_000 - packet.true_ms) / 20))
    timeline = Timeline()
    outcome = encoder.in_order().run(timeline, read_ms=50)
    assert (timeline.nudged_ms, timeline.jumps) == (0, 0)
    assert outcome.shift_ms() <= 1
