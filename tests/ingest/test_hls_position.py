"""Position: where to begin, what is new, what was missed, and when a source counts anew."""

from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.hls_position import Look, Position
from relay.protocol.m3u8 import MediaPlaylist, Segment


def playlist(first: int, count: int, *, kind: str = "", ended: bool = False, names: str = "s") -> MediaPlaylist:
    segments = tuple(Segment(number, f"{names}{number}.ts?t={first}", 2.0) for number in range(first, first + count))
    return MediaPlaylist(2.0, first, segments, kind, ended)


def settle(position: Position, look: Look) -> list[int]:
    for segment in look.segments:
        position.settled(segment.sequence)
    return numbers(look)


def numbers(look: Look) -> list[int]:
    return [segment.sequence for segment in look.segments]


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
    assert position.look(playlist(0, 50, kind="VOD", ended=True), 0).segments == ()


def test_what_ended_before_we_came_is_left_until_it_goes_on() -> None:
    position = Position()
    assert position.look(playlist(0, 50, ended=True), 0).segments == ()
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
    position.settled(0)
    position.settled(1)
    position.begin()
    assert numbers(position.look(vod, 1)) == list(range(2, 50))
    live = Position()
    live.look(playlist(0, 10), 0)
    live.settled(7)
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
