"""Playlists of publishers: what they tell is learnt; what they cannot tell, or lie about, harms nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.hls_playlist import Playlist, read_playlist

TEXT = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-MAP:URI="init.mp4"
#EXTINF:2.0,
seg7.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="init_2.mp4"
#EXTINF:2.0,
seg8.m4s?session=1
#EXT-X-GAP
#EXTINF:2.0,
seg9.m4s
#EXTINF:2.0,
seg10.m4s
#EXT-X-ENDLIST
"""


def test_everything_it_tells() -> None:
    found = read_playlist("live/index.m3u8", TEXT)
    assert found.inits["live/seg7.m4s"] == "live/init.mp4"
    assert found.inits["live/seg8.m4s"] == "live/init_2.mp4"
    assert found.breaks == {"live/seg8.m4s"}
    assert found.gaps == ("live/seg9.m4s",)
    assert (found.last, found.is_ended, found.counts) == ("live/seg10.m4s", True, True)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("a1.ts", "live/a1.ts"),
        ("sub/a1.ts", "live/sub/a1.ts"),
        ("../a1.ts", "a1.ts"),
        ("http://relay:8081/ingest/hls/KEY/live/a1.ts?x=1", "live/a1.ts"),
        ("http://elsewhere/x/a1.ts", "a1.ts"),
    ],
)
def test_names_are_those_of_uploads(uri: str, name: str) -> None:
    assert read_playlist("live/i.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{uri}\n").last == name


def test_segments_of_half_a_second_are_no_error() -> None:
    """ffmpeg rounds their target duration to 0, which says nothing against the rest."""
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:0\n#EXTINF:0.480000,\na1.ts\n#EXT-X-ENDLIST\n"
    found = read_playlist("i.m3u8", text)
    assert (found.last, found.is_ended) == ("a1.ts", True)


def test_names_that_do_not_count() -> None:
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nab12cd.ts\n#EXTINF:1,\n77fe.ts\n"
    assert not read_playlist("i.m3u8", text).counts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "#EXTM3U",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n",
        "#EXTM3U\n#EXTINF:1e308,\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:x\n#EXTINF:nan,\na.ts\n#EXT-X-BYTERANGE:x@y\nb.ts\n",
        "#EXTM3U\n#EXT-X-MAP:\n#EXTINF:,\n",
    ],
)
def test_what_tells_nothing(text: str) -> None:
    found = read_playlist("i.m3u8", text)
    assert (found.inits, found.gaps, found.is_ended) == ({}, (), False)


@given(st.lists(st.sampled_from([*TEXT.splitlines(), "#EXTINF:x", '#EXT-X-KEY:METHOD=AES-128,URI="k"', "\0", "#"])))
def test_any_lines_are_read(lines: list[str]) -> None:
    assert isinstance(read_playlist("i.m3u8", "#EXTM3U\n" + "\n".join(lines)), Playlist)
