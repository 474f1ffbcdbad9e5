"""Admission: the right key finds its channel, a wrong one is refused, counted and slowed down."""

import pytest

from relay.errors import RefusedError
from relay.ingest.admission import Admission
from relay.secret import Secret


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    admission = Admission(failures_per_minute=3, clock=clock)
    admission.set_channel("demo", Secret("publish-demo"), Secret("read-demo"))
    admission.set_channel("other", Secret("publish-other"), Secret("read-other"))
    return admission


def refused(admission: Admission, key: str, address: str = "192.0.2.1") -> str:
    with pytest.raises(RefusedError) as caught:
        admission.admit_publish(key, address)
    return caught.value.outcome


def test_each_key_finds_its_channel_and_only_for_its_purpose(admission: Admission) -> None:
    assert admission.admit_publish("publish-demo", "192.0.2.1") == "demo"
    assert admission.admit_play("other", "read-other", "192.0.2.1") == "other"
    assert admission.admit_play("", "read-demo", "192.0.2.1") == "demo"
    assert refused(admission, "read-demo") == "bad_key"
    with pytest.raises(RefusedError, match="not for other"):
        admission.admit_play("other", "read-demo", "192.0.2.1")
    assert admission.outcomes["demo", "accepted"] == 3
    assert admission.outcomes["unknown", "bad_key"] == 2


def test_no_key_is_its_own_answer(admission: Admission) -> None:
    assert refused(admission, "") == "no_key"
    with pytest.raises(RefusedError, match="read key"):
        admission.admit_play("demo", "", "192.0.2.1")


def test_a_changed_or_removed_key_is_refused_at_once(admission: Admission) -> None:
    admission.set_channel("demo", Secret("publish-new"), Secret("read-new"))
    assert refused(admission, "publish-demo") == "bad_key"
    assert admission.admit_publish("publish-new", "192.0.2.1") == "demo"
    admission.remove("demo")
    admission.remove("demo")
    assert refused(admission, "publish-new") == "bad_key"


def test_a_former_key_is_no_guess(admission: Admission) -> None:
    """An encoder that goes on with it must not keep the one with the new key out, at the same address."""
    admission.set_channel("demo", Secret("publish-new"), Secret("read-demo"))
    for _ in range(20):
        assert refused(admission, "publish-demo") == "bad_key"
    with pytest.raises(RefusedError, match="was changed"):
        admission.admit_publish("publish-demo", "192.0.2.1")
    assert admission.admit_publish("publish-new", "192.0.2.1") == "demo"
    admission.set_channel("demo", Secret("publish-demo"), Secret("read-demo"))
    assert admission.admit_publish("publish-demo", "192.0.2.1") == "demo"
    for number in range(3000):
        admission.set_channel("demo", Secret(f"publish-{number}"), Secret("read-demo"))
    assert len(admission._former) <= 1000


def test_who_was_admitted_is_told_when_the_key_opens_no_longer(admission: Admission) -> None:
    admission.still_admits("publish-demo", "demo")
    for key, name in (("publish-demo", "other"), ("read-demo", "demo")):
        with pytest.raises(RefusedError, match="was changed"):
            admission.still_admits(key, name)
    admission.remove("demo")
    with pytest.raises(RefusedError, match="was changed"):
        admission.still_admits("publish-demo", "demo")


def test_an_address_that_guesses_is_throttled_even_with_the_right_key_and_others_are_not(
    admission: Admission, clock: Clock
) -> None:
    for _ in range(3):
        assert refused(admission, "guess") == "bad_key"
    assert refused(admission, "publish-demo") == "throttled"
    assert admission.admit_publish("publish-demo", "192.0.2.2") == "demo"
    clock.now += 61
    assert admission.admit_publish("publish-demo", "192.0.2.1") == "demo"


def test_many_addresses_do_not_grow_memory_for_ever(admission: Admission, clock: Clock) -> None:
    for index in range(10_500):
        refused(admission, "guess", f"address-{index}")
    assert len(admission._throttle) <= 10_000
    clock.now += 61
    refused(admission, "guess", "another")
    assert len(admission._throttle) == 1


def test_a_key_that_was_used_from_an_address_gets_in_there_while_strangers_guess(admission: Admission) -> None:
    """Phones behind one carrier's address are not kept out by whoever shares it; nor does that try a guess."""
    assert admission.admit_publish("publish-demo", "192.0.2.1") == "demo"
    for _ in range(3):
        assert refused(admission, "guess") == "bad_key"
    for _ in range(3):
        assert admission.admit_publish("publish-demo", "192.0.2.1") == "demo"
        assert refused(admission, "publish-other") == "throttled", "right, but nobody knew it here"
        assert refused(admission, "guess") == "throttled"
    assert admission.outcomes["unknown", "bad_key"] == 3
    for number in range(10_500):
        admission.set_channel("demo", Secret(f"publish-{number}"), Secret("read-demo"))
        admission.admit_publish(f"publish-{number}", "192.0.2.9")
    assert len(admission._came) <= 10_000
