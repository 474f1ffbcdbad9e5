"""Playlists as a player's own parser reads them."""

from dataclasses import replace
from datetime import datetime

import m3u8

from relay.archive.playlist import file_name, media_playlist
from relay.database import SegmentRow


def row(seq: int, **values: object) -> SegmentRow:
    made = SegmentRow(
        seq=seq,
        object_key=f"talk/r1/{seq:06d}.m4s",
        init_key="talk/r1/init-1.mp4",
        started_at=1795519620.0 + 6 * seq,
        start_ms=6000 * seq,
        duration_s=6.0,
        bytes=1000,
        sha256="",
    )
    return replace(made, **values)  # type: ignore[arg-type]


def test_a_complete_recording() -> None:
    text = media_playlist([row(0), row(1, duration_s=6.54)], complete=True)
    parsed = m3u8.loads(text)
    assert (parsed.version, parsed.playlist_type, parsed.is_endlist) == (7, "vod", True)
    assert parsed.is_independent_segments
    assert parsed.target_duration == 7
    assert [(segment.uri, segment.duration) for segment in parsed.segments] == [
        ("000000.m4s", 6.0),
        ("000001.m4s", 6.54),
    ]
    assert parsed.segments[0].init_section.uri == "init-1.mp4"
    assert parsed.segments[1].program_date_time == datetime.fromisoformat("2026-11-24T11:27:06+00:00")
    assert "#EXT-X-DISCONTINUITY" not in text


def test_a_recording_going_on_has_no_end() -> None:
    parsed = m3u8.loads(media_playlist([row(0)], complete=False))
    assert (parsed.playlist_type, parsed.is_endlist) == ("event", False)


def test_new_tracks_and_gaps_are_discontinuities() -> None:
    rows = [row(0, discontinuity=True), row(1), row(2, init_key="talk/r1/init-2.mp4", discontinuity=True)]
    parsed = m3u8.loads(media_playlist(rows, complete=True))
    assert [segment.discontinuity for segment in parsed.segments] == [False, False, True]
    assert [segment.init_section.uri for segment in parsed.segments] == ["init-1.mp4", "init-1.mp4", "init-2.mp4"]


def test_what_is_kept_as_flv_is_left_out() -> None:
    rows = [row(0), row(1, init_key="", object_key="talk/r1/000001.flv"), row(2)]
    parsed = m3u8.loads(media_playlist(rows, complete=True))
    assert [(segment.uri, segment.discontinuity) for segment in parsed.segments] == [
        ("000000.m4s", False),
        ("000002.m4s", True),
    ]


def test_a_segment_that_starts_anywhere_is_not_promised_to_be_independent() -> None:
    assert "INDEPENDENT" not in media_playlist([row(0), row(1, starts_with_keyframe=False)], complete=True)


def test_nothing_recorded_is_still_a_playlist() -> None:
    assert media_playlist([], complete=False).startswith("#EXTM3U\n")


def test_names_are_relative() -> None:
    assert file_name("talk/r1/000001.m4s") == "000001.m4s"
