"""HLS made by the real ffmpeg, and the NAL units and audio frames in it, to be compared whatever container had them."""

import hashlib
import io
import subprocess
from collections.abc import Iterable
from pathlib import Path

import av

from relay.protocol.mp4 import read_fragments, read_init
from tests.support import clips
from tests.support.listing import VIDEO, tags
from tests.support.recording import Recording

PARAMETERS = (7, 8, 9)  # SPS, PPS and delimiters: MPEG-TS repeats them, MP4 keeps them elsewhere
KINDS = ("ts", "fmp4", "ranges", "ranges-fmp4", "aes", "sound-apart")


def words(kind: str, folder: Path) -> list[str]:
    """ffmpeg's arguments for HLS of ``kind`` in ``folder``, without input and length of the list."""
    folder.mkdir(parents=True, exist_ok=True)
    out = ["-c", "copy", "-f", "hls", "-hls_time", "1"]
    if "fmp4" in kind or kind == "sound-apart":
        out += ["-hls_segment_type", "fmp4"]
    if kind.startswith("ranges"):
        out += ["-hls_flags", "single_file"]
    if kind == "aes":
        (folder / "secret.key").write_bytes(bytes(range(16)))
        (folder / "key.info").write_text(f"secret.key\n{folder}/secret.key\n{bytes(range(100, 116)).hex()}\n", "ascii")
        out += ["-hls_key_info_file", str(folder / "key.info")]
    if kind == "sound-apart":
        out += ["-map", "0:v", "-map", "0:a", "-var_stream_map", "v:0,agroup:a a:0,agroup:a,default:yes"]
        out += ["-master_pl_name", "index.m3u8", "-hls_fmp4_init_filename", "init_%v.mp4"]
        out += ["-hls_segment_filename", str(folder / "seg_%v_%d.m4s"), str(folder / "list_%v.m3u8")]
    else:
        out += [str(folder / "index.m3u8")]
    return out


def make(clip: Path, kind: str, folder: Path, *more: str) -> dict[str, bytes]:
    """``clip`` as HLS of ``kind``: every file by its name. ``more``: options, such as the playlist's type."""
    argv = [clips.new_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", "-i", str(clip), "-hls_list_size", "0"]
    # Options of the output stand before its name, which comes last.
    made = words(kind, folder)
    done = subprocess.run([*argv, *made[:-1], *more, made[-1]], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in (".info",)}


def read_ts(data: bytes) -> list[tuple[bool, bytes]]:
    """(is it video, payload) of a TS segment of H.264 and AAC: NAL units length-prefixed, frames without ADTS."""
    found: list[tuple[bool, bytes]] = []
    with av.open(io.BytesIO(data), format="mpegts") as source:
        for packet in source.demux():
            if not packet.size:
                continue
            payload = bytes(packet)
            if packet.stream.type == "video":
                pieces = (piece.rstrip(b"\0") for piece in payload.split(b"\0\0\1"))
                found.append((True, b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces if piece)))
            else:
                found.append((False, payload[7:] if payload[:2] in (b"\xff\xf1", b"\xff\xf9") else payload))
    return found


def nal_units(payload: bytes | memoryview) -> list[str]:
    """Digests of the NAL units of a length-prefixed H.264 access unit, parameter sets apart."""
    found, at = [], 0
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        unit = bytes(payload[at + 4 : at + 4 + size])
        assert len(unit) == size > 0, "a torn NAL unit"
        if unit[0] & 31 not in PARAMETERS:
            found.append(hashlib.sha256(unit).hexdigest()[:16])
        at += 4 + size
    return found


def units(packets: Iterable[tuple[bool, bytes | memoryview]]) -> tuple[list[str], list[str]]:
    """(NAL units, audio frames) of packets given as (is it video, payload)."""
    video: list[str] = []
    audio: list[str] = []
    for is_video, payload in packets:
        if is_video:
            video += nal_units(payload)
        else:
            audio.append(hashlib.sha256(payload).hexdigest()[:16])
    return video, audio


def flv_units(path: Path) -> tuple[list[str], list[str]]:
    """The same of an FLV file of H.264 and AAC."""
    found: list[tuple[bool, bytes | memoryview]] = []
    for type_id, _, body in tags(path.read_bytes()):
        if type_id in (8, VIDEO) and body[1] == 1:
            found.append((type_id == VIDEO, body[5:] if type_id == VIDEO else body[2:]))
    return units(found)


def recorded_units(recording: Recording) -> tuple[list[str], list[str]]:
    """The same of a recording, in playlist order."""
    found: list[tuple[bool, bytes | memoryview]] = []
    for part in recording.parts:
        kinds = {scale.track_id: kind for kind, scale in read_init(part.init).items()}
        found += [(kinds[track_id] == "video", payload) for track_id, _, _, _, payload in read_fragments(part.data)]
    return units(found)
