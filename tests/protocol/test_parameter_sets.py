"""Sequence headers without padding: what is behind a parameter set goes, what belongs to it stays."""

import pytest

from relay.errors import ProtocolError
from relay.media import Codec
from relay.protocol.parameter_sets import without_padding

AVC = "0164000dffe1 0006 6764000dacd9 01 0004 68ef8fcb fdf8f800"
AVC_PADDED = "0164000dffe1 0008 6764000dacd90000 01 0005 68ef8fcb00 fdf8f800"
HEVC = "01" + "00" * 21 + "02 a00001 0004 40010c01 a10002 0003 420101 0004 42010103"
HEVC_PADDED = "01" + "00" * 21 + "02 a00001 0006 40010c010000 a10002 0004 42010100 0004 42010103"


@pytest.mark.parametrize(
    ("codec", "sent", "kept"),
    [
        (Codec.H264, AVC, AVC),
        (Codec.H264, AVC_PADDED, AVC),
        (Codec.HEVC, HEVC, HEVC),
        (Codec.HEVC, HEVC_PADDED, HEVC),
        (Codec.AAC, "1190 00", "1190 00"),
    ],
)
def test_padding_goes_and_nothing_else(codec: Codec, sent: str, kept: str) -> None:
    assert without_padding(codec, bytes.fromhex(sent)) == bytes.fromhex(kept)


@pytest.mark.parametrize(("codec", "text"), [(Codec.H264, AVC[:-9]), (Codec.HEVC, HEVC)])
def test_a_header_cut_anywhere_is_an_error_or_shorter(codec: Codec, text: str) -> None:
    header = bytes.fromhex(text)
    for size in range(len(header)):
        try:
            assert len(without_padding(codec, header[:size])) <= size
        except ProtocolError:
            continue
    assert without_padding(codec, header) == header
