"""Slates made in a child of their own, confined: what a file does to the decoder costs that child and nothing else.

``make_slate_apart`` is the relay's side; run by itself, this makes one slate of what comes on standard input.
"""

import json
import struct
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from relay import confine
from relay.egress.slate import Slate, encode_slate, read_slate
from relay.errors import SlateError
from relay.media import Codec, Packet, Track

MEMORY_BYTES = 3 * 1024**3  # of addresses; a picture of 8192 by 8192 takes a third of it
OPEN_FILES = 16  # none but while modules are loaded
WITHIN_S = 60.0
_SIZE = struct.Struct("!I")
_MOST_ANSWER = 64 * 1024 * 1024


def make_slate_apart(path: Path, video: Track, audio: Track | None = None, *, content: bytes | None = None) -> Slate:
    """As ``slate.make_slate``, in a child with bounded memory, time and nothing to open. Raises SlateError.

    ``content``: what is in the file, which is only named then.

    Blocks for as long as that takes: for a thread.
    """
    if content is None:
        content, _ = read_slate(path)
    asked = {"name": str(path), "video": _told(video), "audio": None if audio is None else _told(audio)}
    words = [sys.executable, "-I", "-m", "relay.egress.slate_worker"]
    command = confine.command(words, memory_bytes=MEMORY_BYTES, open_files=OPEN_FILES)
    try:
        done = subprocess.run(
            command, input=_packed(asked) + content, capture_output=True, timeout=WITHIN_S, env={}, check=False,
            start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise SlateError(f"slate {path} takes more than {WITHIN_S:g} s to encode; give a smaller one") from error
    except OSError as error:
        raise SlateError(f"slate {path} cannot be encoded: {error.strerror}") from error
    try:
        return _slate(done.stdout, audio)
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise SlateError(f"slate {path} breaks the decoder; give a PNG, JPEG or MP4 file that plays") from error


def _slate(answer: bytes, audio: Track | None) -> Slate:
    """The child's answer; ValueError and the like where it is none."""
    if len(answer) > _MOST_ANSWER:
        raise ValueError("too long")
    (size,) = _SIZE.unpack_from(answer)
    said = json.loads(answer[4 : 4 + size])
    if "error" in said:
        raise SlateError(str(said["error"])[:1000])
    track, at, packets = _track(said["video"]), 4 + size, []
    for is_video, at_ms, is_keyframe, length in said["packets"]:
        owner = track if is_video else audio
        if owner is None or not 0 < int(length) <= len(answer) - at:
            raise ValueError("torn")
        packets.append(Packet(owner, int(at_ms), int(at_ms), bool(is_keyframe), answer[at : at + length]))
        at += length
    if not packets or not packets[0].is_keyframe:
        raise ValueError("no keyframe first")
    sounds = audio if said["has_audio"] else None
    return Slate(track, sounds, tuple(packets), int(said["length_ms"]), bool(said["is_cut"]))


def _packed(value: object) -> bytes:
    text = json.dumps(value).encode()
    return _SIZE.pack(len(text)) + text


def _told(track: Track) -> dict[str, Any]:
    return {**asdict(track), "header": track.header.hex()}


def _track(told: dict[str, Any]) -> Track:
    return Track(**{**told, "codec": Codec(told["codec"]), "header": bytes.fromhex(told["header"])})


def answer(asked: BinaryIO) -> bytes:
    """What the child says to one slate asked for."""
    (size,) = _SIZE.unpack(asked.read(4))
    told = json.loads(asked.read(size))
    audio = None if told["audio"] is None else _track(told["audio"])
    try:
        made = encode_slate(Path(told["name"]), asked.read(), _track(told["video"]), audio)
    except SlateError as error:
        return _packed({"error": str(error)})
    facts = {
        "video": _told(made.video_track),
        "has_audio": made.audio_track is not None,
        "length_ms": made.length_ms,
        "is_cut": made.is_cut,
        "packets": [(item.is_video, item.dts_ms, item.is_keyframe, len(item.data)) for item in made.packets],
    }
    return b"".join((_packed(facts), *(item.data for item in made.packets)))


def main() -> None:
    sys.stdout.buffer.write(answer(sys.stdin.buffer))


if __name__ == "__main__":
    main()
