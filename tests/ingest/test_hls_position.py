"""Position: where to begin, what is new, what was missed, and when a source counts anew."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.hls_position import Look, Position, Unit
from relay.protocol.m3u8 import Init, MediaPlaylist, Part, Segment

INIT = Init("i.mp4", None, None)
PARTS = 4  # of half a second


def playlist(first: int, count: int, *, kind: str = "", ended: bool = False, names: str = "s") -> MediaPlaylist:
    segments = tuple(Segment(number, f"{names}{number}.ts?t={first}", 2.0) for number in range(first, first + count))
    return MediaPlaylist(2.0, first, segments, kind, ended)


def settle(position: Position, look: Look) -> list[int]:
    for unit in look.units:
        position.settled(unit)
    return numbers(look)


def numbers(look: Look) -> list[int]:
    return [unit.segment.sequence for unit in look.units]


def test_a_live_playlist_is_entered_three_target_durations_from_its_end_and_followed() -> None:
    position = Position()
    assert numbers(position.look(playlist(100, 10), 0)) == [107, 108, 109]
    assert position.look(playlist(100, 10), 1) == Look(())
    assert numbers(position.look(playlist(102, 10), 2)) == [110, 111]


def test_a_short_playlist_and_an_event_are_entered_likewise() -> None:
    assert numbers(Position().look(playlist(0, 2), 0)) == [0, 1]
    assert numbers(Position().look(playlist(0, 9, kind="EVENT"), 0)) == [6, 7, 8]


def test_a_vod_is_taken_from_its_start_and_gone_on_with() -> None:
    position = Position()
    assert len(settle(position, position.look(playlist(0, 50, kind="VOD", ended=True), 0))) == 50
    position.begin()
    assert position.look(playlist(0, 50, kind="VOD", ended=True), 0).units == ()


def test_what_ended_before_we_came_is_left_until_it_goes_on() -> None:
    position = Position()
    assert position.look(playlist(0, 50, ended=True), 0).units == ()
    assert numbers(position.look(playlist(0, 51), 30)) == [50]


def test_what_left_the_window_unseen_is_told() -> None:
    position = Position()
    position.look(playlist(0, 5), 0)
    look = position.look(playlist(8, 5), 20)
    assert (numbers(look), look.missed) == ([8, 9, 10, 11, 12], 3)


def test_an_attempt_after_hours_begins_near_the_end_and_one_after_a_moment_repeats_nothing() -> None:
    position = Position()
    settle(position, position.look(playlist(0, 10), 0))
    position.begin()
    assert settle(position, position.look(playlist(1, 10), 2)) == [10]
    position.begin()
    look = position.look(playlist(5000, 10), 9999)
    assert (numbers(look), look.missed) == ([5007, 5008, 5009], 0)


def test_what_was_not_handed_on_is_looked_at_again_by_the_next_attempt() -> None:
    position = Position()
    vod = playlist(0, 50, kind="VOD", ended=True)
    position.look(vod, 0)
    position.settled(Unit(vod.segments[0]))
    position.settled(Unit(vod.segments[1]))
    position.begin()
    assert numbers(position.look(vod, 1)) == list(range(2, 50))
    live = Position()
    settle(live, Look(live.look(playlist(0, 10), 0).units[:1]))
    live.begin()
    assert numbers(live.look(playlist(1, 10), 2)) == [8, 9, 10]


def test_an_earlier_run_is_gone_on_from_also_where_the_playlist_has_ended_meanwhile() -> None:
    position = Position()
    assert not position.is_known
    position.resume(48)
    assert position.is_known
    assert numbers(position.look(playlist(0, 50, ended=True), 0)) == [48, 49]
    far = Position()
    far.resume(3)
    assert numbers(far.look(playlist(40, 10), 0)) == [47, 48, 49]
    restarted = Position()
    restarted.resume(700)
    assert restarted.look(playlist(0, 2), 0) == Look(())
    assert restarted.look(playlist(0, 4), 5).has_restarted


def test_an_old_copy_of_the_playlist_is_no_restart() -> None:
    position = Position()
    position.look(playlist(10, 5), 0)
    for now in range(1, 60):
        assert position.look(playlist(9, 5), now) == Look(())
    assert numbers(position.look(playlist(11, 5), 61)) == [15]


def test_a_source_that_begins_at_0_again_under_the_same_names_is_noticed_when_it_grows() -> None:
    position = Position()
    position.look(playlist(200, 5), 0)
    assert position.look(playlist(0, 1), 1) == Look(())
    assert position.look(playlist(0, 2), 3) == Look(())
    look = position.look(playlist(0, 3), 5)
    assert (numbers(look), look.has_restarted, look.missed) == ([0, 1, 2], True, 0)
    assert numbers(position.look(playlist(0, 4), 7)) == [3]


def test_other_segments_under_known_numbers_are_a_restart_at_once() -> None:
    position = Position()
    position.look(playlist(0, 5), 0)
    look = position.look(playlist(0, 3, names="other"), 1)
    assert (numbers(look), look.has_restarted) == ([0, 1, 2], True)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12), st.booleans(), st.booleans()), max_size=20))
def test_no_number_is_given_twice_without_a_restart(looks: list[tuple[int, int, bool, bool]]) -> None:
    position = Position()
    highest = -1
    for now, (first, count, ended, begins) in enumerate(looks):
        if begins:
            position.begin()
        look = position.look(playlist(first, count, ended=ended), float(now))
        if look.has_restarted:
            highest = -1
        settle(position, look)
        assert all(number > highest for number in numbers(look))
        assert numbers(look) == sorted(numbers(look))
        highest = max([highest, *numbers(look)])
        assert look.missed >= 0


# --- in parts ---------------------------------------------------------------------------------------------------------


def in_parts(first: int, count: int, parts: int, *, listing: int = 2) -> MediaPlaylist:
    """``count`` whole segments, the last ``listing`` of them with their parts, and ``parts`` of the one that comes."""

    def made(number: int, parts: int, *, is_whole: bool = True) -> Segment:
        shown = tuple(Part(f"{number}.{at}.mp4", 0.5, is_independent=at == 0) for at in range(parts))
        return Segment(number, f"{number}.mp4" if is_whole else "", parts / 2 or 2.0, init=INIT, parts=shown)

    last = first + count
    segments = tuple(made(number, PARTS if number >= last - listing else 0) for number in range(first, last))
    coming = made(last, parts, is_whole=False) if parts else None
    return MediaPlaylist(2.0, first, segments, can_block=True, part_target_s=0.5, hold_back_s=1.5, coming=coming)


def places(look: Look) -> list[tuple[int, int | None]]:
    return [(unit.segment.sequence, unit.part) for unit in look.units]


def test_parts_are_taken_as_they_come_and_to_the_end_of_their_segment() -> None:
    position = Position()
    assert places(position.look(in_parts(10, 5, 1), 0, in_parts=True)) == [(14, None), (15, 0)]
    assert places(position.look(in_parts(10, 5, 3), 1, in_parts=True)) == [(15, 1), (15, 2)]
    look = position.look(in_parts(11, 5, 1), 2, in_parts=True)
    assert places(look) == [(15, 3), (16, 0)]
    assert [unit.is_last for unit in look.units] == [True, False]
    assert places(position.look(in_parts(13, 5, 0), 5, in_parts=True)) == [(16, 1), (16, 2), (16, 3), (17, None)]


def test_they_are_begun_with_near_the_end_where_the_first_can_be_decoded() -> None:
    assert places(Position().look(in_parts(10, 5, 3), 0, in_parts=True)) == [(15, 0), (15, 1), (15, 2)]
    assert places(Position().look(in_parts(10, 5, 3), 0)) == [(12, None), (13, None), (14, None)]


def test_what_is_not_listed_of_a_begun_segment_is_left_out() -> None:
    position = Position()
    settle(position, position.look(in_parts(10, 5, 3), 0, in_parts=True))
    assert places(position.look(in_parts(14, 5, 0), 6, in_parts=True)) == [(16, None), (17, None), (18, None)]


def test_the_next_attempt_goes_on_behind_the_parts_that_were_handed_on() -> None:
    position = Position()
    look = position.look(in_parts(10, 5, 3), 0, in_parts=True)
    position.settled(look.units[0])
    position.begin()
    assert places(position.look(in_parts(10, 5, 3), 1, in_parts=True)) == [(15, 1), (15, 2)]
    position.begin()
    assert places(position.look(in_parts(11, 5, 1), 1, in_parts=True)) == [(15, 1), (15, 2), (15, 3), (16, 0)]
    restarted = Position()
    restarted.resume(15, 2)
    assert places(restarted.look(in_parts(11, 5, 1), 1, in_parts=True)) == [(15, 2), (15, 3), (16, 0)]


def test_encrypted_parts_and_others_that_cannot_be_read_alone_are_not_taken() -> None:
    plain = in_parts(10, 5, 3)
    assert plain.coming is not None
    bare = replace(plain, coming=replace(plain.coming, init=None))
    assert all(unit.part is None for unit in Position().look(bare, 0, in_parts=True).units)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, PARTS - 1), st.integers(0, 3), st.booleans()), max_size=25),
    st.integers(0, 6),
)
def test_whatever_is_seen_of_it_nothing_is_taken_twice(looks: list[tuple[int, int, int, bool]], settles: int) -> None:
    position = Position()
    end, taken = 5, []
    for now, (grown, parts, listing, begins) in enumerate(looks):
        end += grown
        if begins:
            position.begin()
        look = position.look(in_parts(end - 5, 5, parts, listing=listing), float(now), in_parts=True)
        assert not look.has_restarted
        for unit in look.units[: None if settles else 0]:
            position.settled(unit)
        taken += places(look) if settles else []
    assert taken == sorted(taken, key=lambda place: (place[0], -1 if place[1] is None else place[1]))
    assert len(set(taken)) == len(taken)
    whole = {number for number, part in taken if part is None}
    for number in {number for number, part in taken if part is not None}:
        found = [part for other, part in taken if other == number]
        assert number not in whole
        assert found == list(range(len(found)))
