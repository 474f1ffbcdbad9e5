"""Share: what a connection used up it waits for, what it saved up is bounded."""

import pytest

from relay.ingest.share import READ_S, SAVED_S, STRANGER_S, Share


def test_a_stranger_waits_once_its_small_purse_is_empty() -> None:
    share = Share(0.1, 100.0)
    assert share.spend(STRANGER_S - READ_S, 100.0) == 100.0
    assert share.spend(0.01, 100.0) == pytest.approx(100.0 + (0.01 + READ_S) / 0.1)
    assert share.spend(0.0, 102.0) == 102.0
    assert share.spend(STRANGER_S, 200.0) == pytest.approx(200.0 + READ_S / 0.1), "an hour of patience buys no more"


def test_reads_that_take_nothing_cost_all_the_same() -> None:
    share = Share(0.1, 0.0)
    reads = 0
    while share.spend(0.0, 0.0) == 0.0:
        reads += 1
    assert reads == pytest.approx(STRANGER_S / READ_S, abs=1)


def test_a_publisher_may_catch_up_with_minutes_at_once_and_not_for_ever() -> None:
    share = Share(0.1, 0.0)
    share.trust()
    assert share.spend(SAVED_S / 2, 0.0) == 0.0
    assert share.spend(SAVED_S, 0.0) == pytest.approx((SAVED_S / 2 + 2 * READ_S) / 0.1)


def test_in_the_long_run_it_gets_what_it_may_have() -> None:
    share = Share(0.1, 0.0)
    now = used = 0.0
    while now < 60.0:
        now = max(now + 0.003, share.spend(0.003, now))
        used += 0.003 + READ_S
    assert used / now == pytest.approx(0.1, abs=0.005)
