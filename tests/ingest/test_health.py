"""Link health: good links keep their bitrate, full ones are told what they bear."""

import pytest

from relay.ingest.health import UNKNOWN, LinkHealth


def run(seconds: int, kbps: float, lag_s: float = 0.0, health: LinkHealth | None = None, start: int = 0) -> LinkHealth:
    health = health or LinkHealth()
    for second in range(start, start + seconds):
        health.sample(float(second), round(second * kbps * 125), lag_s)
    return health


def test_nothing_is_said_of_a_link_not_seen_yet() -> None:
    health = LinkHealth()
    assert health.look(0.0) == UNKNOWN
    health.sample(0.0, 0, 0.0)
    assert health.look(0.0) == UNKNOWN
    assert run(5, 800).look(4.0).suggested_kbps == 0


def test_a_good_link_keeps_what_it_has() -> None:
    seen = run(61, 812).look(60.0)
    assert (seen.quality, seen.stalls) == ("good", 0)
    assert seen.kbps_10s == pytest.approx(812, abs=2)
    assert seen.kbps_60s == pytest.approx(812, abs=2)
    assert seen.suggested_kbps == 800


def test_a_link_that_lags_is_full_and_should_carry_less() -> None:
    seen = run(30, 300, lag_s=2.5).look(29.0)
    assert (seen.quality, seen.lag_s, seen.suggested_kbps) == ("poor", 2.5, 200)


def test_stalls_count_for_a_minute() -> None:
    health = run(20, 1000)
    health.stalled(10.0)
    assert health.returned(10.5) == 0.5
    assert (health.look(19.0).quality, health.look(19.0).stalls) == ("fair", 1)
    health.stalled(12.0)
    assert health.look(19.0).quality == "poor"
    health.returned(19.0)
    run(60, 1000, health=health, start=20)
    assert (health.look(79.0).quality, health.look(79.0).stalls) == ("good", 0)


def test_a_trickle_is_not_suggested_less_than_any_encoder_takes() -> None:
    assert run(20, 40, lag_s=3).look(19.0).suggested_kbps == 150


def test_rates_are_of_their_own_time() -> None:
    health = LinkHealth()
    for second in range(61):
        health.sample(float(second), 0 if second < 50 else (second - 50) * 125_000, 0.0)
    seen = health.look(60.0)
    assert (seen.kbps_10s, seen.kbps_60s) == (1000, pytest.approx(167, abs=2))


def test_a_link_that_is_away_or_just_back_is_suggested_nothing() -> None:
    health = run(20, 1000)
    health.stalled(20.0)
    for second in range(20, 30):
        health.sample(float(second), 20 * 125_000, 0.0)  # nothing arrives
    seen = health.look(29.0)
    assert (seen.quality, seen.kbps_10s, seen.suggested_kbps) == ("poor", 100, 0)
    assert health.returned(30.0) == 10.0
    run(10, 1000, health=health, start=30)
    assert health.look(39.0).suggested_kbps == 0
    run(2, 1000, health=health, start=40)
    assert health.look(41.0).suggested_kbps == 750  # it broke: a little less than it bears


def test_health_in_words() -> None:
    assert UNKNOWN.words() == "not known yet"
    assert run(5, 800).look(4.0).words() == "good: 800 kbit/s, 0.0 s late, no stalls in the last minute"
    health = run(30, 300, lag_s=2.5)
    health.stalled(15.0)
    health.returned(16.0)
    told = "poor: 300 kbit/s, 2.5 s late, 1 stall in the last minute; the encoder may be set to 200 kbit/s"
    assert health.look(29.0).words() == told
