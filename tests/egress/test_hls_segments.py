"""Segments: cut at keyframes, whole, in order; as MPEG-TS with exact times that decode without a complaint."""

import asyncio
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.egress.hls_segments import AIM_MS, MOST_MS, OPEN_MS, Piece, Segmenter, TsMuxer
from relay.errors import MediaError
from relay.hub import Batch
from relay.hub.batch import Tracks, follow
from relay.media import Codec, Packet, Track
from relay.protocol.silence import SILENT_AAC
from tests.egress.media import AUDIO, VIDEO, packets_of
from tests.support import clips, proc
from tests.support.collector import no_collector
from tests.support.probe import decode
from tests.support.ts_listing import published, read_segment

OTHER_VIDEO = Track(codec=Codec.H264, header=VIDEO.header + b"\0")
OTHER_AUDIO = Track(codec=Codec.AAC, header=b"\x12\x10")


def video(dts_ms: int, *, key: bool = False, track: Track = VIDEO) -> Packet:
    return Packet(track, dts_ms, dts_ms, key, b"v")


def audio(dts_ms: int, track: Track = AUDIO) -> Packet:
    return Packet(track, dts_ms, dts_ms, True, b"a")


def media(start_ms: int, end_ms: int, gop_ms: int, frame_ms: int = 40) -> list[Packet]:
    made = []
    for dts_ms in range(start_ms, end_ms, frame_ms):
        made += [video(dts_ms, key=(dts_ms - start_ms) % gop_ms == 0), audio(dts_ms + 1)]
    return made


def cut(packets: list[Packet], *, size: int = 7, segmenter: Segmenter | None = None) -> list[Piece]:
    """All pieces of ``packets``, given in batches of ``size``."""
    segmenter = segmenter or Segmenter()
    made = feed(segmenter, packets, size)
    rest = segmenter.flush()
    return made if rest is None else [*made, rest]


def feed(segmenter: Segmenter, packets: list[Packet], size: int = 7) -> list[Piece]:
    made: list[Piece] = []
    tracks: Tracks = (next((p.track for p in packets if p.is_video), None), None)
    for at in range(0, len(packets), size):
        batch = Batch(packets[at : at + size], tracks, at)
        tracks = follow(tracks, batch.packets)
        made += segmenter.feed(batch)
    return made


@pytest.mark.parametrize(
    ("gop_ms", "length_ms"),
    [(2000, 2000), (1000, 2000), (500, 2000), (3000, 3000), (4000, 4000), (1520, 3040), (40, 1800), (8000, 8000)],
)
def test_segments_are_whole_groups_of_pictures(gop_ms: int, length_ms: int) -> None:
    packets = media(0, 24_400, gop_ms)
    pieces = cut(packets)
    assert {piece.duration_ms for piece in pieces[:-1]} == {length_ms}
    assert [packet for piece in pieces for packet in piece.packets] == packets
    assert not any(piece.is_discontinuity for piece in pieces)
    assert sum(piece.duration_ms for piece in pieces) == 24_400


def test_a_keyframe_out_of_turn_is_taken_where_the_next_would_be_too_late() -> None:
    times = [0, 3000, 4400, 7400, 9000]
    packets = [video(ms, key=ms in times) for ms in range(0, 12_000, 40)]
    assert [piece.packets[0].dts_ms for piece in cut(packets)] == times


def test_other_tracks_begin_another_segment_and_lose_nothing() -> None:
    packets = media(0, 4000, 2000)
    packets += [audio(4000 + ms, OTHER_AUDIO) for ms in range(1, 400, 40)]  # other sound before the next keyframe
    packets += [video(4400, key=True), *(video(4400 + ms) for ms in range(40, 2000, 40))]
    packets += [
        video(6400, key=True, track=OTHER_VIDEO),
        *(video(ms, track=OTHER_VIDEO) for ms in range(6440, 8000, 40)),
    ]
    pieces = cut(packets)
    assert [piece.tracks for piece in pieces] == [
        (VIDEO, AUDIO), (VIDEO, AUDIO), (VIDEO, OTHER_AUDIO), (OTHER_VIDEO, OTHER_AUDIO),
    ]  # fmt: skip
    assert [piece.is_discontinuity for piece in pieces] == [False, False, True, True]
    given_ = [packet for piece in pieces for packet in piece.packets]
    assert sorted(map(id, given_)) == sorted(map(id, packets))


def test_the_same_header_from_a_new_connection_is_no_change() -> None:
    again = Track(codec=Codec.H264, header=VIDEO.header)
    packets = media(0, 4000, 2000) + [video(ms, key=ms == 4000, track=again) for ms in range(4000, 6000, 40)]
    assert [piece.is_discontinuity for piece in cut(packets)] == [False, False, False]


def test_sound_that_joins_is_in_the_segment_it_joins() -> None:
    packets = [video(ms, key=ms % 2000 == 0) for ms in range(0, 2400, 40)]
    packets += [packet for packet in media(2400, 6000, 10_000) if not packet.is_video]
    packets += [video(ms, key=ms % 2000 == 0) for ms in range(2400, 6000, 40)]
    pieces = cut(sorted(packets, key=lambda packet: packet.dts_ms))
    assert [piece.tracks[1] for piece in pieces] == [None, AUDIO, AUDIO]
    assert [piece.is_discontinuity for piece in pieces] == [False, True, False]


def test_missing_time_is_a_discontinuity_and_lengths_stay_true() -> None:
    pieces = cut(media(0, 3000, 2000) + media(60_000, 64_000, 2000))
    assert [piece.duration_ms for piece in pieces] == [2000, 1000, 2000, 2000]
    assert [piece.is_discontinuity for piece in pieces] == [False, False, True, False]


def test_sound_alone_is_cut_by_the_clock() -> None:
    packets = [audio(ms) for ms in range(0, 9000, 20)]
    segmenter = Segmenter()
    pieces = segmenter.feed(Batch(packets, (None, None), 0))
    assert {piece.duration_ms for piece in pieces} == {AIM_MS}
    assert [piece.tracks for piece in pieces] == [(None, AUDIO)] * len(pieces)


@pytest.mark.parametrize(("early_ms", "tracks"), [(400, [(VIDEO, AUDIO)]), (1200, [(None, AUDIO), (VIDEO, AUDIO)])])
def test_sound_a_little_before_the_picture_is_no_segment_of_its_own(early_ms: int, tracks: list[Tracks]) -> None:
    packets = [audio(ms) for ms in range(0, early_ms, 20)]
    packets += media(early_ms, early_ms + 1000, 2000)
    segmenter, made = Segmenter(), []
    for packet in packets:
        made += segmenter.feed(Batch([packet], (None, None), 0))
    rest = segmenter.flush()
    assert rest is not None
    made.append(rest)
    assert [piece.tracks for piece in made] == tracks
    assert sorted(id(p) for piece in made for p in piece.packets) == sorted(map(id, packets))


def test_a_picture_without_keyframes_ends_in_words() -> None:
    with pytest.raises(MediaError, match="keyframe"):
        cut([video(ms, key=ms == 0) for ms in range(0, OPEN_MS + 200, 40)])


def test_a_reader_that_joins_again_repeats_nothing_and_misses_nothing() -> None:
    packets = media(0, 8000, 2000)
    segmenter = Segmenter()
    before = feed(segmenter, packets[:180])
    segmenter.join(is_same=True)
    start = max(at for at, packet in enumerate(packets[:190]) if packet.is_video and packet.is_keyframe)
    pieces = before + cut(packets[start:], segmenter=segmenter)
    assert [packet for piece in pieces for packet in piece.packets] == packets
    assert not any(piece.is_discontinuity for piece in pieces)


def test_a_reader_that_joins_too_late_goes_on_with_a_discontinuity() -> None:
    segmenter = Segmenter()
    before = feed(segmenter, media(0, 3000, 2000))
    segmenter.join(is_same=True)
    pieces = before + cut(media(4000, 8000, 2000), segmenter=segmenter)
    assert [piece.duration_ms for piece in pieces] == [2000, 1000, 2000, 2000]
    assert [piece.is_discontinuity for piece in pieces] == [False, False, True, False]


def test_the_same_media_of_another_source_goes_on_and_another_stream_begins_where_it_likes() -> None:
    segmenter = Segmenter()
    before = feed(segmenter, media(50_000, 53_000, 2000))
    segmenter.join(is_same=False)
    before += feed(segmenter, media(52_000, 55_000, 2000))
    assert [piece.duration_ms for piece in before] == [2000, 2000]
    segmenter.join(is_same=False)
    pieces = cut(media(0, 4000, 2000), segmenter=segmenter)
    assert [piece.duration_ms for piece in pieces] == [1000, 2000, 2000]
    assert [piece.is_discontinuity for piece in before + pieces] == [False, False, False, True, False]


def test_a_reset_gives_what_is_open() -> None:
    segmenter = Segmenter()
    feed(segmenter, media(0, 3000, 2000))
    rest = segmenter.reset()
    assert rest is not None
    assert (rest.duration_ms, segmenter.open_ms) == (1000, 0)
    assert segmenter.reset() is None


@given(
    gaps=st.lists(st.tuples(st.integers(1, 5000), st.booleans(), st.booleans()), min_size=1, max_size=200),
    size=st.integers(1, 40),
)
@settings(max_examples=150, deadline=None)
def test_whatever_comes_each_packet_is_in_one_piece_in_order(gaps: list[tuple[int, bool, bool]], size: int) -> None:
    """Any rhythm of pictures, sound and keyframes; any cutting into batches gives the same pieces."""
    packets, now_ms, has_key = [], 0, False
    for step_ms, is_video, is_key in gaps:
        now_ms += step_ms
        has_key = has_key or (is_video and is_key)
        if has_key:
            packets.append(video(now_ms, key=is_key) if is_video else audio(now_ms))
    try:
        pieces, singly = cut(packets, size=size), cut(packets, size=1)
    except MediaError:
        return  # no keyframe for half a minute, which is looked for behind each batch
    given_ = [packet for piece in pieces for packet in piece.packets]
    assert given_ == [packet for packet in packets if packet in given_]
    assert all(piece.packets[0].is_video and piece.packets[0].is_keyframe for piece in pieces)
    assert all(piece.duration_ms > 0 for piece in pieces)
    for before, after in pairwise(pieces):
        if not after.is_discontinuity:
            assert before.packets[0].dts_ms + before.duration_ms == after.packets[0].dts_ms
    assert pieces == singly


@given(
    steps=st.lists(
        st.tuples(
            st.integers(1, 3000),
            st.sampled_from([VIDEO, OTHER_VIDEO, AUDIO, OTHER_AUDIO]),
            st.booleans(),
            st.sampled_from(["", "", "", "same", "other", "flush"]),
        ),
        max_size=120,
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_changes_no_packet_is_lost_uncounted_or_given_twice(
    steps: list[tuple[int, Track, bool, str]],
) -> None:
    """Tracks that change at any time, readers that come and go: in a piece, once, or counted as dropped."""
    segmenter, pieces, packets, now_ms = Segmenter(), [], [], 0
    tracks: Tracks = (None, None)
    for step_ms, track, is_key, event in steps:
        if event == "flush":
            pieces += [segmenter.flush()]
        elif event:
            segmenter.join(is_same=event == "same")
        now_ms += step_ms
        is_video = track.codec is Codec.H264
        packets.append(video(now_ms, key=is_key, track=track) if is_video else audio(now_ms, track))
        batch = Batch(packets[-1:], tracks, 0)
        tracks = batch.closing
        try:
            pieces += segmenter.feed(batch)
        except MediaError:
            continue  # no keyframe for half a minute
    made = [piece for piece in [*pieces, segmenter.flush()] if piece is not None]
    given_ = [packet for piece in made for packet in piece.packets]
    assert len(set(map(id, given_))) == len(given_)
    assert len(given_) + segmenter.dropped == len(packets)
    for piece in made:
        assert {packet.track for packet in piece.packets} <= set(piece.tracks)
        assert piece.packets[0].is_keyframe
        assert piece.packets[0].is_video == (piece.tracks[0] is not None)
    for before, after in pairwise(made):
        assert after.is_discontinuity or before.tracks == after.tracks


# --- MPEG-TS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clip", [clips.H264, clips.H264_B, clips.HEVC, clips.AUDIO_ONLY, clips.VIDEO_ONLY], ids=lambda clip: clip.name
)
@pytest.mark.parametrize("moved_ms", [0, 95_443_717 - 5000, 40 * 86_400_000], ids=["begin", "33 bits", "40 days"])
async def test_every_frame_comes_out_with_its_bytes_and_times(clip: clips.Clip, moved_ms: int, tmp_path: Path) -> None:
    packets = [
        packet._replace(dts_ms=packet.dts_ms + moved_ms, pts_ms=packet.pts_ms + moved_ms)
        for packet in packets_of(await asyncio.to_thread(clips.make, clip))
    ]
    first = next((at for at, packet in enumerate(packets) if packet.is_video), 0)
    packets = packets[first:]  # as a subscription begins: with a picture, where there is one
    pieces, muxer = cut(packets), TsMuxer()
    segments = [muxer.mux(piece) for piece in pieces]
    assert len(segments) >= 5
    seen = [read_segment(data) for data in segments]
    assert [rule for segment in seen for rule in segment.broken] == []
    for track in ("video", "audio"):
        got = [frame for segment in seen for frame in segment.of(track)]
        wanted = [frame for frame in published(packets) if frame.track == track]
        assert [frame.digest for frame in got] == [frame.digest for frame in wanted]
        assert [frame.dts % (1 << 33) for frame in got] == [frame.dts % (1 << 33) for frame in wanted]
        assert [frame.pts % (1 << 33) for frame in got] == [frame.pts % (1 << 33) for frame in wanted]
    whole = tmp_path / "whole.ts"
    whole.write_bytes(b"".join(segments))
    await decode(whole)


async def test_sound_announced_before_it_is_heard_can_be_packaged() -> None:
    """The picture changes while the sound starves: it stays announced, so that nothing changes when it returns."""
    packets = packets_of(await asyncio.to_thread(clips.make, clips.H264))
    (first, *_) = cut(packets)
    video_alone = tuple(packet for packet in first.packets if packet.is_video)
    data = TsMuxer().mux(first._replace(packets=video_alone))
    assert read_segment(data).broken == ()
    assert read_segment(data).of("audio") == []
    assert read_segment(data).streams == {"video": 1, "audio": 1}
    silent = TsMuxer().mux(first._replace(packets=video_alone, tracks=(first.tracks[0], SILENT_AAC)))
    assert read_segment(silent).streams == {"video": 1, "audio": 1}


@pytest.mark.parametrize("codec", [Codec.AV1, Codec.VP9])
def test_what_does_not_go_into_ts_is_refused_in_words(codec: Codec) -> None:
    piece = Piece((video(0, key=True),), (Track(codec=codec), None), 1000, False)
    with pytest.raises(MediaError, match=rf"not {codec}.*fit"):
        TsMuxer().mux(piece)


def test_nonsense_is_a_media_error() -> None:
    packets = tuple(packet._replace(data=b"\xff" * 40) for packet in media(0, 2000, 2000))
    track = Track(codec=Codec.H264, header=b"\x01")
    made = Piece(
        tuple(packet._replace(track=track) for packet in packets if packet.is_video), (track, None), 2000, False
    )
    with pytest.raises(MediaError, match="h264"):
        TsMuxer().mux(made)
    assert MOST_MS == 4000


async def test_what_is_closed_gives_back_what_the_library_held() -> None:
    """Seen keeping 2.4 MiB of each destination that was removed, until the collector came round."""
    packets = packets_of(await asyncio.to_thread(clips.make, clips.H264))
    (first, *_) = cut(packets)

    def use() -> None:
        muxer = TsMuxer()
        muxer.mux(first)
        muxer.close()
        with pytest.raises(MediaError):
            muxer.mux(first)  # by a thread that comes late

    with no_collector():
        for _ in range(5):
            use()
        before = proc.load(os.getpid()).memory
        for _ in range(40):
            use()
        assert proc.load(os.getpid()).memory - before < 40 * 1024**2
