"""Live playlists: every version of a run keeps the rules, and what players are told of it is true."""

import itertools
import re

import m3u8
import pytest

from relay.media import Codec, Track
from relay.web.hls.cut import Rendition
from relay.web.hls.muxer import Muxer
from relay.web.hls.playlists import QUERY, media, multivariant
from tests.support.hls_rules import Playlist, Watch, attributes, expand, read
from tests.web.hls.media import TURNED, frames, muxer, write


class Run:
    """Looks at both renditions, and at their delta updates, whenever there is something new."""

    def __init__(self, cut: Muxer, *, steady: bool = True) -> None:
        self.cut = cut
        self.watches = {rendition: Watch(steady=steady) for rendition in Rendition}
        self._version = -1

    def look(self) -> None:
        if not self.cut.target_s or self.cut.version == self._version:
            return
        self._version = self.cut.version
        for rendition, watch in self.watches.items():
            before = watch.last
            new = watch.see(media(self.cut, rendition).replace(QUERY, ""))
            if before is not None:
                again = expand(media(self.cut, rendition, skip=True).replace(QUERY, ""), before)
                assert [segment.told() for segment in again.segments] == [segment.told() for segment in new.segments]
                assert [segment.parts for segment in again.segments[-3:]] == [
                    segment.parts for segment in new.segments[-3:]
                ]

    @property
    def last(self) -> Playlist:
        found = self.watches[Rendition.MAIN].last
        assert found is not None
        return found


@pytest.mark.parametrize("fps", [10, 12.5, 15, 24, 29.97, 30, 50, 60])
@pytest.mark.parametrize("gop_ms", [500, 1000, 2000, 4000, 9000])
def test_every_version_keeps_the_rules(fps: float, gop_ms: int) -> None:
    cut = muxer(window_s=40)
    run = Run(cut)
    write(cut, frames(0, 70_000, fps=fps, gop_ms=gop_ms), each=run.look)
    cut.finish()
    run.look()
    for watch in run.watches.values():
        assert watch.looks > 100
        assert watch.hints_kept()
    assert run.last.ends
    assert run.last.sequence > min(run.watches[Rendition.MAIN].segments), "nothing left the window"
    starts = [segment.parts[0].independent for segment in run.last.closed if segment.parts]
    assert gop_ms > 6000 or all(starts)


def test_frames_at_no_steady_pace_keep_all_rules_but_those_of_pace() -> None:
    cut = muxer()
    run = Run(cut, steady=False)
    paces = itertools.cycle([7, 30, 3, 24])
    at_ms = 0
    for _ in range(12):
        write(cut, frames(at_ms, at_ms + 4000, fps=next(paces)), each=run.look)
        at_ms += 4000
    cut.finish()
    run.look()
    assert sum(segment.duration_ms for segment in run.last.closed) >= 47_900


def test_a_publisher_that_returns_turned_and_late_is_a_discontinuity_with_its_date() -> None:
    cut = muxer(window_s=30)
    run = Run(cut)
    write(cut, frames(0, 10_000), each=run.look)
    cut.holding()
    run.look()
    assert run.last.hint == ""
    before = run.last
    cut.resumed()
    write(cut, frames(25_000, 60_000, video=TURNED), each=run.look)
    numbers = [segment.number for segment in run.watches[Rendition.MAIN].segments.values() if segment.discontinuity]
    assert numbers == [before.segments[-1].number + 1]
    after = run.watches[Rendition.MAIN].segments[numbers[0]]
    first = run.watches[Rendition.MAIN].segments[min(run.watches[Rendition.MAIN].segments)]
    assert after.date is not None
    assert first.date is not None
    assert after.date - first.date == pytest.approx(25.0, abs=0.002)
    assert after.init != first.init
    assert int(run.last.tags["#EXT-X-DISCONTINUITY-SEQUENCE"]) > int(before.tags["#EXT-X-DISCONTINUITY-SEQUENCE"])


def test_sound_that_comes_and_goes_is_a_gap_in_the_sound_alone() -> None:
    cut = muxer()
    run = Run(cut)
    write(cut, frames(0, 8_000), each=run.look)
    write(cut, frames(8_000, 16_000, audio=None), each=run.look)
    write(cut, frames(16_000, 24_000), each=run.look)
    cut.finish()
    run.look()
    sound = run.watches[Rendition.AUDIO].last
    assert sound is not None
    assert {segment.gap for segment in run.last.closed} == {False}
    assert [segment.gap for segment in sound.closed] == [False] * 4 + [True] * 4 + [False] * 4
    assert [segment.duration_ms for segment in sound.closed] == [segment.duration_ms for segment in run.last.closed]


def test_each_rendition_tells_how_far_the_other_is() -> None:
    cut = muxer()
    run = Run(cut)
    write(cut, frames(0, 6_500), each=run.look)
    assert [report["URI"] for report in run.last.reports] == ["audio.m3u8"]
    last = run.last.segments[-1]
    assert run.last.reports[0]["LAST-MSN"] == str(last.number)
    assert run.last.reports[0]["LAST-PART"] == str(len(last.parts) - 1)


def test_a_stream_without_a_picture_has_one_rendition() -> None:
    cut = muxer()
    run = Run(cut)
    write(cut, frames(0, 20_000, video=None), each=run.look)
    text = multivariant(cut).replace(QUERY, "")
    assert text.count("#EXT-X-STREAM-INF") == 1
    assert 'CODECS="mp4a.40.2"\nmain.m3u8' in text
    assert run.last.reports == []
    assert all(part.independent for part in run.last.parts)


def test_the_multivariant_playlist_says_what_there_is() -> None:
    cut = muxer()
    write(cut, frames(0, 10_000, size=4000))
    text = multivariant(cut).replace(QUERY, "?key=k")
    found = m3u8.loads(text)
    whole, sound = found.playlists
    assert (whole.uri, sound.uri) == ("main.m3u8?key=k", "audio.m3u8?key=k")
    assert whole.stream_info.codecs == "avc1.42c01e,mp4a.40.2"
    assert sound.stream_info.codecs == "mp4a.40.2"
    assert whole.stream_info.resolution == (640, 360)
    assert whole.stream_info.frame_rate == pytest.approx(30, abs=0.5)
    assert 960_000 <= whole.stream_info.average_bandwidth <= whole.stream_info.bandwidth <= 1_100_000
    assert sound.stream_info.bandwidth < 20_000


@pytest.mark.parametrize(
    ("track", "text"),
    [
        (Track(codec=Codec.HEVC, header=b"h", codec_string="hvc1.1.6.L93.90"), "hvc1.1.6.L93.90"),
        (Track(codec=Codec.AV1, header=b"h", codec_string="av01.0.04M.08"), "av01.0.04M.08"),
        (Track(codec=Codec.VP9, codec_string="vp09.00.10.08"), "vp09.00.10.08"),
    ],
)
def test_codecs_are_named_as_players_know_them(track: Track, text: str) -> None:
    cut = muxer()
    write(cut, frames(0, 5_000, video=track, audio=Track(codec=Codec.OPUS, codec_string="opus")))
    line = multivariant(cut).split("\n")[2]
    assert attributes(line.partition(":")[2])["CODECS"] == f"{text},opus"


def test_another_reader_of_playlists_reads_them_as_they_are_meant() -> None:
    cut = muxer()
    write(cut, frames(0, 13_000))
    text = media(cut, Rendition.MAIN).replace(QUERY, "?key=k")
    found, ours = m3u8.loads(text), read(text)
    assert found.media_sequence == ours.sequence
    assert [segment.uri for segment in found.segments if segment.uri] == [segment.uri for segment in ours.closed]
    assert found.target_duration == 3
    assert found.part_inf.part_target == ours.part_target_ms / 1000
    assert found.preload_hint.uri == ours.hint
    assert found.server_control.can_block_reload == "YES"
    assert all(re.search(r"\.m4s\?key=k$", segment.uri) for segment in ours.closed)
