"""The painter's child, called here: it answers each ask, and says in words why there is no picture."""

import io
import json

from relay.archive.painter import SIZES
from relay.archive.thumbnail_worker import answer, serve
from tests.archive.test_thumbnails import keyframe, size
from tests.support import clips


def ask(data: bytes, **other: object) -> tuple[bytes, bytes]:
    track = keyframe(clips.H264_B).track
    told = {"codec": track.codec, "width": track.width, "height": track.height, "header": track.header.hex()}
    return json.dumps({**told, "is_keyframe": True, "at_most": 320, **other}).encode(), data


def read(answers: io.BytesIO) -> tuple[str, bytes]:
    words, picture = SIZES.unpack(answers.read(SIZES.size))
    return answers.read(words).decode(), answers.read(picture)


def test_each_ask_has_its_answer_until_the_other_side_closes() -> None:
    first = keyframe(clips.H264_B)
    asks, answers = io.BytesIO(), io.BytesIO()
    for head, data in (ask(first.data), ask(b"nothing of the kind"), ask(first.data, at_most=64)):
        asks.write(SIZES.pack(len(head), len(data)) + head + data)
    asks.seek(0)
    serve(asks, answers)
    answers.seek(0)
    words, picture = read(answers)
    assert (words, size(picture)) == ("", (320, 180))
    words, picture = read(answers)
    assert (words.partition(" ")[0], picture) == ("h264", b"")
    assert size(read(answers)[1]) == (64, 36)
    assert answers.read() == b""


def test_what_is_no_keyframe_makes_no_picture() -> None:
    words, picture = read(io.BytesIO(answer(*ask(keyframe(clips.H264_B).data, is_keyframe=False))))
    assert ("only a keyframe" in words, picture) == (True, b"")
