"""Window: how far back the playlist goes and what leaves memory, with an archive and without, watched or not."""

from collections.abc import Sequence

from relay.archive.library import Place
from relay.media import Packet
from relay.web.hls.cut import Epoch, Segment
from relay.web.hls.window import Window
from tests.web.hls.media import AUDIO, STARTED, VIDEO, frames

PLACE = Place("r1", 0, STARTED)
FRAMES: Sequence[Packet] = frames(0, 2000)


def add(window: Window, number: int, epoch: Epoch, *, is_watched: bool) -> Segment:
    segment = Segment(number, epoch, number * 2000)
    part = segment.add(list(FRAMES), number * 2000, number * 2000 + 2000)
    window.kept_bytes += part.size
    if not window.segments:
        window.begin_with(segment)
    window.add(segment, 3, is_watched=is_watched)
    return segment


def filled(place: Place | None, *, is_watched: bool, window_ms: int = 60_000, count: int = 100) -> Window:
    window = Window(window_ms, 14_000, 1 << 20)
    epoch = Epoch(5, (VIDEO, AUDIO), 0, STARTED, place)
    for number in range(1, count + 1):
        add(window, number, epoch, is_watched=is_watched)
    return window


def kept(window: Window) -> list[int]:
    return [segment.number for segment in window.segments if segment.is_kept]


def test_of_what_nobody_watches_one_segment_stays_in_memory_and_the_archive_has_the_rest() -> None:
    window = filled(PLACE, is_watched=False)
    assert kept(window) == [100]
    assert window.kept_bytes == window.segments[-1].size
    assert window.first_listed == window.segments[0].number == 71
    assert len(window.segments) == 30


def test_without_an_archive_the_rest_is_gone() -> None:
    window = filled(None, is_watched=False)
    assert [segment.number for segment in window.segments] == kept(window) == [100]
    assert window.first_listed == 100


def test_who_watches_is_never_left_with_less_than_the_least() -> None:
    window = filled(PLACE, is_watched=True, window_ms=1000)
    listed = [segment for segment in window.segments if segment.number >= window.first_listed]
    assert sum(segment.duration_ms for segment in listed) >= 12_000
    assert window.kept_bytes == sum(segment.size for segment in window.segments if segment.is_kept)


def test_somebody_comes_and_goes_and_the_playlist_goes_on() -> None:
    window = filled(PLACE, is_watched=False)
    epoch = window.segments[-1].epoch
    first = window.first_listed
    for number in range(101, 106):
        add(window, number, epoch, is_watched=True)
    assert kept(window) == list(range(100, 106))
    assert window.first_listed == first + 5
    add(window, 106, epoch, is_watched=False)
    assert kept(window) == [106]
    assert [segment.number for segment in window.segments] == list(range(77, 107))
