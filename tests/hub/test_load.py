"""Load: what share of a processor media takes, looked at once a second, told when it nears what there is."""

import time

import pytest

from relay.hub.load import Load


class Machine:
    """A processor and a clock, worked by hand."""

    def __init__(self, capacity: float = 0.8) -> None:
        self.used_s = self.now_s = 0.0
        self.load = Load(capacity, lambda: self.used_s, lambda: self.now_s)
        self.looks = 0

    def run(self, seconds: float, share: float, tick_s: float = 0.1, others: float = 0.0) -> None:
        """``share`` is media's, a quarter of it for what is sent; ``others``: what the loop does in between."""
        for _ in range(round(seconds / tick_s)):
            self.load.begin()
            self.used_s += share * tick_s
            self.load.own_s += share * tick_s * 0.75
            self.used_s += others * tick_s
            self.now_s += tick_s
            self.looks += self.load.end()
            self.used_s += tick_s * 0.05  # other work of the same thread


def test_only_what_media_used_counts_and_some_seconds_decide() -> None:
    machine = Machine()
    machine.run(30, 0.4)
    assert 28 <= machine.looks <= 30
    assert machine.load.share == pytest.approx(0.4, rel=0.01)
    assert machine.load.ratio == pytest.approx(0.5, rel=0.01)
    machine.run(1, 2.0)
    assert machine.load.ratio < 1.2, "a burst of a second"
    machine.run(10, 0.1)
    assert machine.load.share == pytest.approx(0.1, abs=0.05)


def test_what_else_the_loop_does_meanwhile_does_not_pass_for_media() -> None:
    machine = Machine()
    machine.run(30, 0.02, others=0.5)
    assert machine.load.share == pytest.approx(0.03, rel=0.01), "not more than media can take that ticks so long"


def test_who_ticks_no_more_uses_nothing() -> None:
    machine = Machine()
    machine.run(20, 0.7)
    machine.now_s += 6
    assert machine.load.share == 0
    machine.run(2, 0.2)
    assert machine.load.share < 0.3, "what was long ago is forgotten"


def test_it_measures_this_thread() -> None:
    load = Load(1.0)
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        load.begin()
        sum(range(20_000))
        load.own_s = 1.0
        if load.end():
            break
    assert 0 < load.share <= 0.31
