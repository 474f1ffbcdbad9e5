"""Playlists of strangers: what they say, whatever they say, and never slowly; the m3u8 package reads the same."""

import contextlib
import time

import m3u8 as package
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import LimitError, ProtocolError
from relay.protocol.m3u8 import (
    MOST_BYTES,
    Init,
    Key,
    MediaPlaylist,
    Multivariant,
    Part,
    Rendition,
    Segment,
    Variant,
    parse,
    resolve,
)
from relay.protocol.m3u8_lines import ByteRange

HEAD = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n"


def media(text: str) -> MediaPlaylist:
    found = parse(f"{HEAD}{text}".encode())
    assert isinstance(found, MediaPlaylist)
    return found


def test_a_live_playlist() -> None:
    found = media(
        "#EXT-X-MEDIA-SEQUENCE:41\n#EXTINF:4.000,title, with commas\na.ts\n#EXT-X-DISCONTINUITY\n"
        "#EXT-X-PROGRAM-DATE-TIME:2024-05-01T00:00:00Z\n#EXTINF:3.5\nb.ts?x=1\n#EXT-X-GAP\n#EXTINF:4,\nc.ts\n"
    )
    assert found == MediaPlaylist(
        4.0,
        41,
        (
            Segment(41, "a.ts", 4.0),
            Segment(42, "b.ts?x=1", 3.5, is_discontinuity=True, date="2024-05-01T00:00:00Z"),
            Segment(43, "c.ts", 4.0, is_gap=True),
        ),
    )
    assert found.next_sequence == 44


def test_fragments_with_byte_ranges_and_their_init_segment() -> None:
    found = media(
        '#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-MAP:URI="all.mp4",BYTERANGE="800@0"\n'
        "#EXTINF:4,\n#EXT-X-BYTERANGE:1000@800\nall.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:500\nall.mp4\n#EXT-X-ENDLIST\n"
    )
    init = Init("all.mp4", ByteRange(0, 800), None)
    assert [item.byte_range for item in found.segments] == [ByteRange(800, 1000), ByteRange(1800, 500)]
    assert {item.init for item in found.segments} == {init}
    assert (found.kind, found.is_ended) == ("EVENT", True)


def test_keys_with_and_without_iv_and_none() -> None:
    found = media(
        '#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-KEY:METHOD=AES-128,URI="k1"\n#EXTINF:4,\na\n'
        '#EXT-X-KEY:METHOD=AES-128,URI="https://keys.example/k2",IV=0x00FF\n#EXT-X-MAP:URI="i"\n#EXTINF:4,\nb\n'
        "#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,\nc\n"
    )
    assert [item.key for item in found.segments] == [
        Key("k1", (7).to_bytes(16, "big")),
        Key("https://keys.example/k2", (255).to_bytes(16, "big")),
        None,
    ]
    assert found.segments[2].init == Init("i", None, Key("https://keys.example/k2", (255).to_bytes(16, "big")))


def test_parts_of_segments_that_are_there_and_of_the_one_that_is_coming() -> None:
    found = media(
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-PART-INF:PART-TARGET=0.33334\n"
        '#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MAP:URI="i.mp4"\n'
        '#EXT-X-PART:DURATION=0.33,URI="a1.mp4",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.3,URI="a2.mp4",GAP=YES\n'
        "#EXTINF:0.63,\na.mp4\n#EXT-X-DISCONTINUITY\n"
        '#EXT-X-PART:DURATION=0.25,URI="b.mp4",BYTERANGE="10@5"\n#EXT-X-PART:DURATION=0.25,URI="b.mp4",BYTERANGE=3\n'
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p2.mp4"\n'
    )
    assert found.can_block
    assert (found.part_target_s, found.hold_back_s, found.next_sequence) == (0.33334, 1.5, 8)
    (segment,) = found.segments
    assert segment.parts == (Part("a1.mp4", 0.33, None, is_independent=True), Part("a2.mp4", 0.3, is_gap=True))
    coming = found.coming
    assert coming == Segment(
        8, "", 0.5, None, None, Init("i.mp4", None, None), True, parts=coming.parts if coming else ()
    )
    assert coming is not None
    assert coming.parts == (
        Part("b.mp4", 0.25, ByteRange(5, 10)),
        Part("b.mp4", 0.25, ByteRange(15, 3)),
    )


def test_without_parts_nothing_is_coming_and_three_of_them_are_the_least_distance() -> None:
    assert media("#EXTINF:4,\na.mp4\n").coming is None
    assert media("#EXT-X-PART-INF:PART-TARGET=0.5\n").hold_back_s == 1.5


MULTIVARIANT = b"""#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",DEFAULT=YES,URI="sound.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="English",URI="words.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=800000,CODECS="avc1.4d401e,mp4a.40.2",RESOLUTION=640x360
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=3000000,CODECS="avc1.4d401e,mp4a.40.2",RESOLUTION=1280x720
high.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=9000000,CODECS="avc1.4d401e,mp4a.40.2",RESOLUTION=1920x1080,AUDIO="a"
apart.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"
sound-only.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90000,URI="keyframes.m3u8"
"""


def test_the_best_variant_that_fits_and_where_its_sound_is() -> None:
    found = parse(MULTIVARIANT)
    assert isinstance(found, Multivariant)
    assert found.audio == (Rendition("a", "English", "sound.m3u8", True),)
    assert found.variants[0] == Variant("low.m3u8", 800_000, "avc1.4d401e,mp4a.40.2", 640, 360)
    assert found.best(0).uri == "apart.m3u8"
    assert found.best(3000).uri == "high.m3u8"
    assert found.best(2999).uri == "low.m3u8"
    assert found.best(100).uri == "low.m3u8"  # a picture too large is better than none
    assert found.sound_of(found.best(0)) == found.audio[0]
    assert found.sound_of(found.best(3000)) is None
    inside = Multivariant(found.variants, (*found.audio, Rendition("a", "in the segments")))
    assert inside.sound_of(inside.best(0)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html><body>#EXTM3U</body></html>", "does not begin with #EXTM3U"),
        ("", "does not begin"),
        ("#EXTM3U8\n", "does not begin"),
        ("#EXTM3U\n#EXTINF:4,\na.ts\n", "TARGETDURATION"),
        (HEAD + "a.ts\n", "without EXTINF"),
        (HEAD + "#EXTINF:1e308,\na.ts\n", "EXTINF is no duration"),
        (HEAD + "#EXTINF:nan,\na.ts\n", "EXTINF is no duration"),
        (HEAD + "#EXTINF:inf,\na.ts\n", "EXTINF is no duration"),
        (HEAD + "#EXTINF:-4,\na.ts\n", "EXTINF is no duration"),
        (HEAD + "#EXTINF:99999999,\na.ts\n", "EXTINF is no duration"),
        (HEAD + "#EXT-X-MEDIA-SEQUENCE:" + "9" * 5000, "out of range|no number"),
        (HEAD + "#EXT-X-MEDIA-SEQUENCE:9999999999999999999", "no number in range"),
        (HEAD + "#EXT-X-MEDIA-SEQUENCE:٣", "no number in range"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:-1\n", "TARGETDURATION"),
        (HEAD + "#EXTINF:4,\nfile:///etc/passwd\n", "a file URI"),
        (HEAD + "#EXTINF:4,\nFiLe:///etc/passwd\n", "a file URI"),
        (HEAD + "#EXTINF:4,\ndata:video/mp2t;base64,AAAA\n", "a data URI"),
        (HEAD + "#EXTINF:4,\njavascript:alert(1)\n", "a javascript URI"),
        (HEAD + "#EXTINF:4,\nconcat:a.ts|b.ts\n", "a concat URI"),
        (HEAD + "#EXTINF:4,\na b.ts\n", "characters that no URI has"),
        (HEAD + "#EXTINF:4,\na\tb.ts\n", "characters that no URI has"),
        (HEAD + "#EXTINF:4,\n\\\\host\\share\n", "characters that no URI has"),
        (HEAD + "#EXTINF:4,\n{$host}/a.ts\n", "characters that no URI has"),
        (HEAD + "#EXTINF:4,\n" + "a" * 5000, "endless URI"),
        (HEAD + "#EXTINF:4,\n" + "a" * 9000, "line of more than"),
        (HEAD + '#EXT-X-KEY:METHOD=AES-128,URI="file:///etc/passwd"\n#EXTINF:4,\na\n', "a file URI"),
        (HEAD + '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF:4,\na\n', "only AES-128"),
        (HEAD + '#EXT-X-KEY:METHOD=AES-128,URI="k",KEYFORMAT="com.apple"\n#EXTINF:4,\na\n', "only AES-128"),
        (HEAD + '#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x' + "1" * 33 + "\n", "128 bits"),
        (HEAD + "#EXT-X-KEY:METHOD=AES-128\n", "no URI"),
        (HEAD + '#EXT-X-MAP:URI="file:///etc/passwd"\n', "a file URI"),
        (HEAD + '#EXT-X-MAP:BYTERANGE="1@0"\n', "no URI"),
        (HEAD + '#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXT-X-MAP:URI="i"\n', "no IV"),
        (HEAD + "#EXT-X-BYTERANGE:5\n#EXTINF:4,\na\n", "no offset"),
        (HEAD + "#EXT-X-BYTERANGE:x@y\n", "no byte range"),
        (HEAD + "#EXT-X-BYTERANGE:9999999999999999@9007199254740992\n#EXTINF:4,\na\n", "out of range"),
        (HEAD + "#EXT-X-BYTERANGE:0@0\n", "no byte range"),
        (HEAD + "#EXT-X-PART:DURATION=1\n", "EXT-X-PART has no URI"),
        (HEAD + '#EXT-X-PART:DURATION=1,URI="file:///etc/passwd"\n', "a file URI"),
        (HEAD + '#EXT-X-PART:URI="a"\n', "EXT-X-PART is no duration"),
        (HEAD + '#EXT-X-PART:DURATION=1e308,URI="a"\n', "EXT-X-PART is no duration"),
        (HEAD + '#EXT-X-PART:DURATION=1,URI="a",BYTERANGE=5\n', "no offset"),
        (HEAD + "#EXT-X-PART-INF:PART-TARGET=nan\n", "PART-TARGET is no duration"),
        (HEAD + "#EXT-X-SERVER-CONTROL:PART-HOLD-BACK=-1\n", "PART-HOLD-BACK is no duration"),
        (HEAD + "#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n", "leaves out"),
        (HEAD + "#EXT-X-I-FRAMES-ONLY\n", "keyframes only"),
        (HEAD + "#EXT-X-KEY:URI\n", "cannot be read"),
        (HEAD + "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n", "both"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n#EXTINF:1,\nb\n", "both"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=x\na\n", "no number in range"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///a\n", "a file URI"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", "names no variant"),
        ("#EXTM3U\na\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb\n", "without EXT-X-STREAM-INF"),
        ("#EXTM3U\n" + "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n" * 300, "more than 200"),
    ],
)
def test_what_is_refused_and_in_which_words(text: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        parse(text.encode())


def test_sizes_are_bounded() -> None:
    with pytest.raises(LimitError, match="more than 262144 bytes"):
        parse(HEAD.encode() + b"#\n" * MOST_BYTES)
    with pytest.raises(ProtocolError, match="no UTF-8"):
        parse(b"#EXTM3U\n\xff\xfe")


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("a.ts", "http://h.example:81/live/a.ts"),
        ("/a.ts?q=1", "http://h.example:81/a.ts?q=1"),
        ("//other.example/a", "http://other.example/a"),
        ("https://other.example/a", "https://other.example/a"),
        ("../../../a", "http://h.example:81/a"),
    ],
)
def test_resolving(uri: str, url: str) -> None:
    assert resolve("http://h.example:81/live/index.m3u8?token=x", uri) == url


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "//[", "https:///a", "\x00http://a", ""])
def test_what_resolves_to_nothing_fetchable(uri: str) -> None:
    with pytest.raises(ProtocolError):
        resolve("http://h.example/live/index.m3u8", uri)


LINES = st.lists(
    st.sampled_from(
        [
            "#EXTINF:", "#EXTINF:4,", "#EXTINF:1e9,", "#EXT-X-KEY:", '#EXT-X-KEY:METHOD=AES-128,URI="k"',
            "#EXT-X-KEY:METHOD=NONE", "#EXT-X-BYTERANGE:5@0", "#EXT-X-BYTERANGE:5", '#EXT-X-MAP:URI="i"',
            "#EXT-X-TARGETDURATION:4", "#EXT-X-MEDIA-SEQUENCE:5", "#EXT-X-ENDLIST", "#EXT-X-GAP", "a.ts",
            "http://[", "#EXT-X-STREAM-INF:BANDWIDTH=5", "#EXT-X-PART-INF:PART-TARGET=1",
            '#EXT-X-PART:DURATION=1,URI="p"', '#EXT-X-PART:DURATION=1,URI="p",BYTERANGE=5@0',
            "#EXT-X-MEDIA:TYPE=AUDIO", "", "#comment", "#EXT",
        ]
    )
    | st.text(max_size=30),
    max_size=30,
)  # fmt: skip


@given(LINES)
def test_any_text_gives_a_value_or_a_protocol_error(lines: list[str]) -> None:
    try:
        found = parse("\n".join(["#EXTM3U", *lines]).encode("utf-8", "surrogatepass"))
    except ProtocolError:
        return
    for uri in [item.uri for item in getattr(found, "segments", getattr(found, "variants", ()))]:
        with contextlib.suppress(ProtocolError):
            assert resolve("https://h.example/a/b", uri).startswith(("http://", "https://"))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_protocol_error(data: bytes) -> None:
    for text in (data, b"#EXTM3U\n" + data):
        with contextlib.suppress(ProtocolError):
            parse(text)


@pytest.mark.parametrize(
    "line",
    [
        "#EXTINF:1,\na\n",
        '#EXT-X-KEY:METHOD=AES-128,URI="k%d"\n#EXTINF:1,\na\n',
        '#EXT-X-MAP:URI="i%d"\n#EXTINF:1,\na\n',
        '#EXT-X-PART:DURATION=1,URI="p%d"\n',
        "#EXT-X-KEY:" + "A=1," * 2000 + "METHOD=NONE\n",
        "#EXT-X-SERVER-CONTROL:" + '"' * 8000 + "\n",
        "#EXT-X-KEY:" + " " * 8000 + "A\n",
        "#EXTINF:" + "1" * 8000 + "\n",
        "\n",
    ],
)
def test_the_worst_of_the_allowed_size_is_quick(line: str) -> None:
    text = HEAD
    number = 0
    while len(text) + len(line) + 8 < MOST_BYTES:
        text += line.replace("%d", str(number))
        number += 1
    before = time.process_time()
    with contextlib.suppress(ProtocolError):
        parse(text.encode())
    assert time.process_time() - before < 1.0


names = st.text(st.sampled_from("abcdefgh0123456789-_./"), min_size=1, max_size=20).filter(lambda text: text.strip("."))


@given(
    st.lists(
        st.tuples(names, st.integers(0, 12_000), st.booleans(), st.booleans(), st.none() | st.integers(0, 3)),
        max_size=12,
    ),
    st.integers(0, 1 << 40),
    st.booleans(),
)
def test_the_m3u8_package_reads_the_same(
    items: list[tuple[str, int, bool, bool, int | None]], sequence: int, ended: bool
) -> None:
    text = f"{HEAD}#EXT-X-MEDIA-SEQUENCE:{sequence}\n"
    for uri, duration_ms, is_discontinuity, is_gap, key in items:
        if key is not None:
            text += f'#EXT-X-KEY:METHOD=AES-128,URI="k{key}",IV=0x{key:032x}\n'
        text += "#EXT-X-DISCONTINUITY\n" * is_discontinuity + "#EXT-X-GAP\n" * is_gap
        text += f"#EXTINF:{duration_ms / 1000:.3f},\n{uri}\n"
    text += "#EXT-X-ENDLIST\n" * ended
    ours, theirs = parse(text.encode()), package.loads(text)
    assert isinstance(ours, MediaPlaylist)
    assert (ours.sequence, ours.is_ended) == (theirs.media_sequence, theirs.is_endlist)
    assert [
        (item.uri, item.duration_s, item.is_discontinuity, item.is_gap, item.key and item.key.uri)
        for item in ours.segments
    ] == [
        (item.uri, item.duration, item.discontinuity, bool(item.gap_tag), item.key and item.key.uri)
        for item in theirs.segments
    ]
