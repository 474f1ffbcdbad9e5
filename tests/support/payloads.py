"""Payloads as digests, whatever container they came in: of uploads as ffmpeg reads them, of recordings as they lie."""

from collections.abc import Sequence
from pathlib import Path

from relay.protocol.mp4 import read_fragments, read_init
from tests.ingest.segments import Piece, listed
from tests.support.listing import digest
from tests.support.recording import Recording

Payloads = dict[str, list[str]]
"""Digests by track ("video", "audio"), in order; of video, NAL unit by NAL unit without lengths or start codes."""


def of_recording(recording: Recording) -> Payloads:
    """Every packet of a recording of H.264 and AAC."""
    found: Payloads = {"video": [], "audio": []}
    for part in recording.parts:
        kinds = {scale.track_id: kind.value for kind, scale in read_init(part.init).items()}
        for track_id, _, _, _, payload in read_fragments(part.data):
            found[kinds[track_id]].append(_digest(kinds[track_id], bytes(payload)))
    return found


def of_ts(segments: Sequence[bytes], folder: Path) -> Payloads:
    """Every packet of MPEG-TS segments with H.264 and AAC that follow each other."""
    found: Payloads = {"video": [], "audio": []}
    for item in listed(Piece("all.ts", b"".join(segments), b""), folder):
        if item.is_video:
            units = [unit.rstrip(b"\0") for unit in item.data.split(b"\0\0\1")]
            found["video"].append(digest(b"|".join(unit for unit in units if unit)))
        else:
            found["audio"].append(digest(item.data[7 if item.data[1] & 1 else 9 :]))
    return found


def of_fmp4(init: bytes, segments: Sequence[bytes], folder: Path) -> Payloads:
    """Every packet of fMP4 segments with H.264 and AAC that follow each other."""
    found: Payloads = {"video": [], "audio": []}
    for item in listed(Piece("all.m4s", b"".join(segments), init), folder):
        kind = "video" if item.is_video else "audio"
        found[kind].append(_digest(kind, item.data))
    return found


def _digest(kind: str, payload: bytes) -> str:
    if kind == "audio":
        return digest(payload)
    units, at = [], 0
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        units.append(payload[at + 4 : at + 4 + size].rstrip(b"\0"))
        at += 4 + size
    return digest(b"|".join(unit for unit in units if unit))
