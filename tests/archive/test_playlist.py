"""Playlists as a player's own parser reads them."""

import contextlib
from dataclasses import replace
from datetime import datetime

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.archive.playlist import GAP_NAME, file_name, media_playlist, read_playlist
from relay.database import GapRow, SegmentRow
from relay.errors import EvidenceError


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


def test_missing_time_is_there_as_entries_without_media() -> None:
    rows = [row(0), row(1, start_ms=26_000, discontinuity=True), row(2, start_ms=32_000)]
    text = media_playlist(rows, [GapRow(start_ms=6000, length_ms=20_000, reason="link lost")], complete=True)
    parsed = m3u8.loads(text)
    assert [(segment.uri, segment.duration, bool(segment.gap_tag)) for segment in parsed.segments] == [
        ("000000.m4s", 6.0, False),
        *[(GAP_NAME, 5.0, True)] * 4,
        ("000001.m4s", 6.0, False),
        ("000002.m4s", 6.0, False),
    ]
    assert [segment.discontinuity for segment in parsed.segments] == [False] * 5 + [True, False]
    assert parsed.target_duration == 6
    assert [item.name for item in read_playlist(text.encode()).segments] == ["000000.m4s", "000001.m4s", "000002.m4s"]


def test_behind_what_is_left_out_players_are_told_whatever_its_number() -> None:
    rows = [row(0), row(2, init_key="", object_key="talk/r1/000002.flv"), row(5), row(6)]
    parsed = m3u8.loads(media_playlist(rows, complete=True))
    assert [segment.discontinuity for segment in parsed.segments] == [False, True, False]
    parsed = m3u8.loads(media_playlist([row(0, init_key=""), row(4), row(7), row(8)], complete=True))
    assert [segment.discontinuity for segment in parsed.segments] == [False] * 3


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


# --- reading ---------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back() -> None:
    rows = [row(0), row(1, discontinuity=True, duration_s=6.541), row(2, init_key="talk/r1/init-2.mp4")]
    for complete in (True, False):
        found = read_playlist(media_playlist(rows, complete=complete).encode())
        assert found.ends is complete
        assert [(item.name, item.init, item.duration_s, item.discontinuity) for item in found.segments] == [
            ("000000.m4s", "init-1.mp4", 6.0, False),
            ("000001.m4s", "init-1.mp4", 6.541, True),
            ("000002.m4s", "init-2.mp4", 6.0, False),
        ]
        assert [item.started_at for item in found.segments] == [item.started_at for item in rows]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not begin with #EXTM3U"),
        (b"hello\n", "does not begin with #EXTM3U"),
        (b"#EXTM3U\n\xff", "no UTF-8 text"),
        (b"#EXTM3U\n#EXTINF:six,\nx", "EXTINF"),
        (b"#EXTM3U\n#EXTINF:nan,\nx", "EXTINF"),
        (b"#EXTM3U\n#EXTINF:-1,\nx", "EXTINF"),
        (b"#EXTM3U\n#EXT-X-MAP:BYTERANGE=x", "EXT-X-MAP has no URI"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-PROGRAM-DATE-TIME:now\n#EXTINF:6,\nx", "Invalid isoformat string"),
        (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx", "names other playlists"),
    ],
)
def test_what_is_no_playlist_is_told_in_words(data: bytes, words: str) -> None:
    with pytest.raises(EvidenceError, match=words) as raised:
        read_playlist(data)
    assert raised.value.kind == "playlist"


@given(st.binary(max_size=200))
def test_nothing_but_our_own_error_escapes(data: bytes) -> None:
    for text in (data, b"#EXTM3U\n" + data, b"#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:" + data, b"#EXTM3U\n#EXTINF:" + data):
        with contextlib.suppress(EvidenceError):
            read_playlist(text)
