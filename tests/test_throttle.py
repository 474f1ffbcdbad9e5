"""Throttle: each address by itself, for a minute, and no more of them than there is room for."""

import pytest

from relay import throttle
from relay.throttle import WINDOW_S, Purse, Recent, Throttle, origin


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_address_is_counted_by_itself_and_for_a_window() -> None:
    clock = Clock()
    counted = Throttle(2, clock)
    counted.note("a")
    assert not counted.is_full("a")
    counted.note("a")
    assert counted.is_full("a")
    assert not counted.is_full("b")
    clock.now += WINDOW_S
    assert not counted.is_full("a")
    counted.note("a")
    assert not counted.is_full("a")  # the first of the last two is old


def test_what_was_no_failure_is_taken_back() -> None:
    counted = Throttle(2, Clock())
    counted.note("a")
    counted.note("a")
    counted.forgive("a")
    assert not counted.is_full("a")
    counted.forgive("a")
    counted.forgive("a")
    assert len(counted) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_ADDRESSES", 3)
    clock = Clock()
    counted = Throttle(1, clock)
    for address in "abcd":
        counted.note(address)
    assert [counted.is_full(address) for address in "abcd"] == [True, True, True, False]
    clock.now += WINDOW_S
    counted.note("d")
    assert len(counted) == 1
    assert counted.is_full("d")


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("?", "?"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_customer_has_one_name_however_many_addresses(address: str, whose: str) -> None:
    assert origin(address) == whose
    counted = Throttle(1)
    counted.note(address)
    assert counted.is_full(whose.replace("::/64", "::5") if whose.endswith("/64") else whose)
    counted.forgive(address)
    assert not counted.is_full(address)


def test_the_most_recent_are_remembered_and_no_more_than_there_may_be() -> None:
    recent = Recent[str](2)
    for key in ("a", "b", "a", "c"):
        recent.add(key)
    assert [key in recent for key in "abc"] == [True, False, True]


def test_a_purse_has_so_many_at_once_and_so_many_a_second() -> None:
    purse = Purse(3, 2.0, 100.0)
    assert [purse.spend(100.0) for _ in range(4)] == [True, True, True, False]
    assert [purse.spend(100.6) for _ in range(2)] == [True, False]
    assert [purse.spend(200.0) for _ in range(4)] == [True, True, True, False]
