"""Connection budget: every limit at its edge, room for new ones and for those who showed a key before."""

import contextlib

import pytest

from relay.budget import FEWEST_CONNECTS, GREETED_S, KNOWN_MOST, SILENT_S, ConnectionBudget, Place
from relay.config import LimitSettings
from relay.errors import LimitError


def made(**limits: object) -> ConnectionBudget:
    return ConnectionBudget(LimitSettings.model_validate(limits))


def refused(budget: ConnectionBudget, address: str, now: float = 0.0) -> str:
    """The limit that keeps ``address`` out."""
    with pytest.raises(LimitError) as caught:
        budget.enter(address, now)
    return caught.value.limit


def known(budget: ConnectionBudget, address: str) -> None:
    place = budget.enter(address, 0.0)
    place.authenticate()
    place.leave()


def closing(place: Place, closed: list[str]) -> Place:
    place.close = lambda: closed.append(place.address)
    return place


def test_each_budget_refuses_the_one_too_many_and_counts_nothing_but_the_refusal() -> None:
    budget = made(connections=4, connections_unauthenticated=3, connections_per_address=2)
    first = budget.enter("192.0.2.1", 0.0)
    budget.enter("192.0.2.1", 0.0)
    assert refused(budget, "192.0.2.1") == "connections_per_address"
    budget.enter("192.0.2.2", 0.0)
    assert refused(budget, "192.0.2.3") == "connections_unauthenticated"
    first.authenticate()
    budget.enter("192.0.2.3", 0.0)
    assert refused(budget, "192.0.2.4") == "connections"
    assert (budget.total, budget.unauthenticated) == (4, 3)
    assert budget.hits == {"connections_per_address": 1, "connections_unauthenticated": 1, "connections": 1}


def test_leaving_gives_every_place_back_once() -> None:
    budget = made(connections=1, connections_unauthenticated=1, connections_per_address=1)
    for authenticated in (False, True, False):
        place = budget.enter("192.0.2.1", 0.0)
        if authenticated:
            place.authenticate()
        place.leave()
        place.leave()
        place.authenticate()
        assert (budget.total, budget.unauthenticated) == (0, 0)


def test_who_showed_a_key_before_comes_in_while_strangers_hold_all_there_is_for_them() -> None:
    budget = made(connections_unauthenticated=2, connections_per_address=2)
    known(budget, "198.51.100.7")
    for number in range(2):
        budget.enter(f"192.0.2.{number}", 0.0)
    assert refused(budget, "192.0.2.9") == "connections_unauthenticated"
    for _ in range(2):
        assert budget.enter("198.51.100.7", 0.0).known
    assert refused(budget, "198.51.100.7") == "connections_per_address"
    assert budget.unauthenticated == 2


def test_even_where_all_places_are_taken_a_stranger_makes_room() -> None:
    budget = made(connections=2, connections_unauthenticated=2)
    known(budget, "198.51.100.7")
    closed: list[str] = []
    for number in range(2):
        closing(budget.enter(f"192.0.2.{number}", 0.0), closed)
    assert refused(budget, "198.51.100.7", SILENT_S / 2) == "connections"
    place = budget.enter("198.51.100.7", SILENT_S)
    assert place.displaced
    assert closed == ["192.0.2.0"]
    place.authenticate()
    budget.enter("198.51.100.7", SILENT_S).authenticate()
    assert refused(budget, "198.51.100.7", 100.0) == "connections", "nobody with a key is put out"


def test_the_silent_make_room_first_and_of_them_whoever_has_most() -> None:
    budget = made(connections_unauthenticated=4)
    closed: list[str] = []
    greeted = closing(budget.enter("192.0.2.1", 0.0), closed)
    greeted.greeted = True
    for address in ("192.0.2.2", "192.0.2.3", "192.0.2.3"):
        closing(budget.enter(address, 0.1), closed)
    for number in range(3):
        place = closing(budget.enter(f"198.51.100.{number}", 0.1 + SILENT_S), closed)
        assert place.displaced
    assert closed == ["192.0.2.3", "192.0.2.2", "192.0.2.3"]
    assert refused(budget, "198.51.100.9", 0.1 + SILENT_S) == "connections_unauthenticated"
    for other in list(budget._strangers):
        other.greeted = True
    budget.enter("198.51.100.9", GREETED_S)
    assert closed[3:] == ["192.0.2.1"]
    assert "others need the place" in greeted.evicted
    assert budget.hits["connections_unauthenticated"] == 5
    assert budget.unauthenticated == 4


def taken(budget: ConnectionBudget, address: str, now: float, tries: int) -> int:
    """How many of so many tries, one after the other, get in."""
    count = 0
    for _ in range(tries):
        with contextlib.suppress(LimitError):
            budget.enter(address, now).leave()
            count += 1
    return count


def test_a_stranger_connects_only_so_often_and_who_is_known_as_often_as_it_likes() -> None:
    budget = made(connections_per_address=30, connects_per_s=2)
    assert taken(budget, "192.0.2.1", 0.0, 40) == 30
    assert refused(budget, "192.0.2.1") == "connects_per_address"
    assert taken(budget, "192.0.2.2", 0.0, 1) == 1
    assert taken(budget, "192.0.2.1", 0.6, 5) == 1
    assert taken(budget, "192.0.2.1", 600.0, 40) == 30
    known(budget, "198.51.100.7")
    assert taken(budget, "198.51.100.7", 0.0, 100) == 100
    assert taken(made(connections_per_address=1), "192.0.2.1", 0.0, 40) == FEWEST_CONNECTS


def test_strangers_have_so_many_tls_handshakes_a_second_at_each_door_and_who_is_known_any_number() -> None:
    budget = made(tls_handshakes_per_s=3, connections_unauthenticated=2, connects_per_s=1000)
    known(budget, "198.51.100.7")

    def done(door: str, now: float, address: str = "192.0.2.1") -> int:
        count = 0
        for _ in range(10):
            with contextlib.suppress(LimitError):
                place = budget.enter(address, now)
                budget.handshake(place, door, now)
                place.leave()
                count += 1
        return count

    assert done("RTMP", 0.0) == 3
    assert done("HLS uploads", 0.0) == 3, "each door has its own"
    assert done("RTMP", 0.0, "198.51.100.7") == 10
    assert done("RTMP", 0.5) == 1
    assert done("RTMP", 60.0) == 3
    assert budget.hits == {"tls_handshakes": 7 + 7 + 9 + 7}
    assert budget.total == 0, "who is refused has left its place"


def test_phones_behind_one_carriers_address_have_ten_times_as_much() -> None:
    budget = made(connections_per_address=3, connects_per_s=1, shared_addresses=True)
    places = [budget.enter("192.0.2.1", 0.0) for _ in range(30)]
    assert refused(budget, "192.0.2.1") == "connections_per_address"
    for place in places:
        place.leave()
    assert refused(budget, "192.0.2.1") == "connects_per_address"
    assert taken(budget, "192.0.2.1", 1.0, 40) == 10


def test_an_ipv6_customer_is_one_address() -> None:
    budget = made(connections_per_address=2)
    for number in range(2):
        budget.enter(f"2001:db8::{number}", 0.0)
    assert refused(budget, "2001:db8::ffff:1") == "connections_per_address"
    budget.enter("2001:db8:0:1::1", 0.0)


def test_descriptors_are_kept_for_publishers_files_and_operators_in_this_order() -> None:
    others = 40
    budget = ConnectionBudget(LimitSettings(), 256, lambda: others + budget.total)
    known(budget, "198.51.100.7")
    for number in range(120):
        budget.enter(f"192.0.2.{number}", 0.0)
    assert refused(budget, "192.0.2.200") == "descriptors"
    closed: list[str] = []
    closing(next(iter(budget._strangers)), closed)
    assert budget.enter("192.0.2.200", 1.0).displaced
    assert closed == ["192.0.2.0"]
    for _ in range(50):
        assert not budget.enter("198.51.100.7", 1.0).displaced
    others = 100  # files, which are looked for once a second
    budget.enter("203.0.113.1", 1.5, counted=False)
    assert budget.enter("198.51.100.8", 1.5).displaced
    with pytest.raises(LimitError, match="LimitNOFILE"):
        budget.enter("203.0.113.1", 2.1, counted=False)
    assert budget.hits["descriptors"] == 4


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    budget = made(connections_per_address=1)
    for number in range(KNOWN_MOST + 10):
        place = budget.enter(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
        place.authenticate()
        place.leave()
    assert len(budget._known) == KNOWN_MOST
    assert len(budget._came) <= KNOWN_MOST
    assert not budget._by_origin
