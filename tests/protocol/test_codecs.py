"""Which reader a codec's header goes to, and what is known of a codec whose header never came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.protocol.codecs import read_frame_track, read_track, sized_by_keyframe
from tests.protocol.captures import FILES
from tests.protocol.damage import value_or_error
from tests.protocol.flv_files import read_file


def test_a_codec_without_header_keeps_what_it_is_given() -> None:
    assert read_track(Codec.MP3, b"xy") == Track(codec=Codec.MP3, header=b"xy", codec_string="mp3")


@pytest.mark.parametrize(("codec", "text"), [(Codec.VP9, "vp09.00.10.08"), (Codec.VP8, "vp08.00.10.08")])
def test_vp8_and_vp9_need_no_header(codec: Codec, text: str) -> None:
    assert read_frame_track(codec, b"\x82") == Track(codec=codec, codec_string=text)


@given(st.sampled_from(Codec), st.binary(max_size=80))
def test_any_header_makes_a_track_of_its_codec_or_a_protocol_error(codec: Codec, data: bytes) -> None:
    for read in (read_track, read_frame_track):
        track = value_or_error(read, codec, data)
        assert isinstance(track, ProtocolError) or track.codec is codec


@given(st.sampled_from(Codec), st.binary(max_size=80))
def test_any_keyframe_leaves_a_track(codec: Codec, frame: bytes) -> None:
    track = Track(codec=codec)
    sized = sized_by_keyframe(track, frame)
    assert sized.codec is codec
    assert sized is track or sized.width > 0


@pytest.mark.parametrize("name", FILES)
def test_headers_of_captured_sessions_read_the_same_again(name: str) -> None:
    _, depacketizer = read_file(name)
    for track in (depacketizer.video, depacketizer.audio):
        if track is not None and track.header:
            again = read_track(track.codec, track.header)
            assert (again.header, again.codec_string) == (track.header, track.codec_string)
