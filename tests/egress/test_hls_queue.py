"""The queue and the playlist of an HLS destination: bounded, in order, naming only what was accepted."""

import m3u8
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.egress.hls_queue import WINDOW, Lane, Outbox, Segment
from relay.egress.hls_segments import Piece
from relay.hub import BacklogLimit
from tests.egress.test_hls_segments import media

LATE_MS, LATE_BYTES = 300_000, 8 * 1024 * 1024
LIMIT = BacklogLimit(LATE_MS, LATE_BYTES)


def segment(number: int, *, is_new: bool = False, duration_ms: int = 2000, data: bytes = b"x") -> Segment:
    return Segment(number, f"a-{number}.ts", data, duration_ms, is_new, 50)


def read(lane: Lane, *, is_over: bool = False) -> m3u8.M3U8:
    return m3u8.loads(lane.playlist(is_over=is_over).decode())


def accept(lane: Lane, *segments: Segment) -> None:
    for item in segments:
        lane.add(item)
        lane.accepted()


def test_the_playlist_slides_and_ends() -> None:
    lane = Lane(LIMIT)
    accept(lane, *(segment(number, is_new=number in (100, 103, 106)) for number in range(100, 112)))
    seen = read(lane)
    assert [item.uri for item in seen.segments] == [f"a-{number}.ts" for number in range(104, 112)]
    assert len(seen.segments) == WINDOW
    assert (seen.media_sequence, seen.target_duration, seen.discontinuity_sequence) == (104, 4, 1)
    assert [item.uri for item in seen.segments if item.discontinuity] == ["a-106.ts"]
    assert not seen.is_endlist
    assert read(lane, is_over=True).is_endlist
    lane.over()
    assert not lane.has_playlist
    accept(lane, segment(112))
    after = read(lane)
    assert (after.media_sequence, after.discontinuity_sequence) == (112, 2)
    assert after.segments[0].discontinuity


def test_what_waits_is_bounded_in_time_and_bytes_and_the_oldest_goes() -> None:
    lane = Lane(LIMIT)
    for number in range(LATE_MS // 2000 + 10):
        lane.add(segment(number))
    assert lane.backlog_ms == LATE_MS
    assert lane.queue[0].number == 10
    assert lane.dropped == 10 * 50
    big = Lane(LIMIT)
    for number in range(9):
        big.add(segment(number, data=bytes(LATE_BYTES // 8)))
    assert [item.number for item in big.queue] == list(range(1, 9))


def test_after_a_drop_the_playlist_begins_anew_with_a_discontinuity() -> None:
    lane = Lane(LIMIT)
    accept(lane, segment(1), segment(2))
    lane.add(segment(3))
    for number in range(4, 4 + LATE_MS // 2000):
        lane.add(segment(number))
    lane.accepted()
    seen = read(lane)
    assert [(item.uri, item.discontinuity) for item in seen.segments] == [("a-4.ts", True)]
    assert seen.media_sequence == 4


def test_what_is_on_its_way_is_not_dropped() -> None:
    lane = Lane(LIMIT)
    lane.add(segment(1))
    lane.sending = lane.queue[0]
    for number in range(2, 4 + LATE_MS // 2000):
        lane.add(segment(number))
    assert [item.number for item in lane.queue][:2] == [1, 5]
    assert lane.backlog_ms == LATE_MS
    lane.accepted()
    lane.accepted()
    assert [(item.uri, item.discontinuity) for item in read(lane).segments] == [("a-5.ts", True)]


def test_another_place_has_a_playlist_of_its_own() -> None:
    lane = Lane(LIMIT)
    lane.aim("one")
    accept(lane, segment(1), segment(2, is_new=True))
    lane.add(segment(3))
    lane.aim("one")
    assert lane.has_playlist
    lane.aim("other")
    assert not lane.has_playlist
    lane.accepted()
    assert [(item.uri, item.discontinuity) for item in read(lane).segments] == [("a-3.ts", False)]


def test_a_segment_longer_than_the_target_is_named_truly() -> None:
    lane = Lane(LIMIT)
    accept(lane, segment(1, duration_ms=8400))
    assert (read(lane).target_duration, read(lane).segments[0].duration) == (8, 8.4)


@given(st.lists(st.sampled_from(["add", "accept", "new", "over", "lose"]), max_size=120))
@settings(max_examples=200, deadline=None)
def test_whatever_happens_numbers_only_grow_and_have_no_holes(steps: list[str]) -> None:
    lane, number, named = Lane(LIMIT), 10, {}
    sequence = discontinuities = 0
    for step in steps:
        if step in ("add", "new"):
            number += 1
            lane.add(segment(number, is_new=step == "new"))
        elif step == "lose":
            number += 1
        elif step == "over":
            lane.over()
        elif lane.queue:
            lane.accepted()
        if not lane.has_playlist:
            continue
        seen = read(lane)
        assert seen.media_sequence >= sequence
        assert (seen.discontinuity_sequence or 0) >= discontinuities
        sequence, discontinuities = seen.media_sequence, seen.discontinuity_sequence or 0
        for at, item in enumerate(seen.segments, sequence):
            assert named.setdefault(item.uri, at) == at
            assert item.uri == f"a-{at}.ts"
            assert len(seen.segments) <= WINDOW


def piece(start_ms: int) -> Piece:
    packets = tuple(media(start_ms, start_ms + 2000, 2000))
    return Piece(packets, (packets[0].track, packets[1].track), 2000, False)


def test_an_outbox_numbers_from_the_clock_and_marks_what_follows_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    first, second = Outbox(LIMIT), Outbox(LIMIT)
    first.pieces += [piece(0), piece(2000), piece(4000)]
    assert first.backlog_ms == 6000
    one = first.segment(b"one")
    assert (one.number, one.is_discontinuity, one.packets) == (1_700_000_001, False, 100)
    first.lose()
    two = first.segment(b"two")
    assert (two.number, two.is_discontinuity) == (1_700_000_002, True)
    assert first.dropped == 100
    second.pieces.append(piece(0))
    assert second.segment(b"").name != one.name


def test_an_outbox_that_is_cleared_holds_nothing_and_numbers_go_on() -> None:
    outbox = Outbox(LIMIT)
    outbox.pieces += [piece(0), piece(2000)]
    made = outbox.segment(b"one")
    for lane in (outbox.primary, outbox.backup):
        lane.add(made)
    outbox.clear()
    assert (outbox.backlog_ms, outbox.dropped) == (0, 200)
    assert not outbox.primary.queue
    assert not outbox.backup.queue
    outbox.pieces.append(piece(0))
    assert outbox.segment(b"").number == made.number + 1
