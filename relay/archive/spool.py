"""The spool's files: FLV parts whose commits carry their own checksums, how they are named, read and recovered."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from relay.errors import ProtocolError, SpoolError
from relay.hub.batch import Note, Tracks
from relay.media import Packet, Track
from relay.media.timeline import FileClock
from relay.protocol import amf0, flv

OPEN_SUFFIX = ".flv.part"
CLOSED_SUFFIX = ".flv"
_PART = re.compile(r"(\d{6,})\.flv(?:\.part)?")
_WRAP = 1 << 32
_MOST = 1 << 53
_LAST_S = 253_402_300_799  # of the year 9999
_FIRST_TAG = 13 + 4  # the file's header, and the first tag's type and size

# A commit tag is a script tag with this body, so that any FLV player skips it. Fixed length: the checksum is last.
_COMMIT = amf0.encode("relayCommit")
_COMMIT_BODY = len(amf0.encode("relayCommit", {"offset": 0, "seq": 0, "packets": 0, "crc32c": 0}))
_COMMIT_TAG = 11 + _COMMIT_BODY + 4
_AFTER_CRC = 3 + 4  # the object's end marker and PreviousTagSize

_NOTE = amf0.encode("relayNote")
NOTE_CHARS = 1000  # of a note's text, at most: a tag that AMF readers take whatever was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class PartInfo:
    """What a part says of itself in its onMetaData tag: enough to archive it without any database.

    ``seq`` numbers the parts of a recording. Tags are timed from ``base_ms`` on the stream's timeline;
    ``start_ms`` is the DTS of the first packet there, ``recording_base_ms`` that of the recording's first.
    ``first_seq`` is the stream's number of the first packet. Wall clock in unix seconds. ``gap``: why media is
    missing before this part, empty where it follows the part before. ``late``: it was put between parts that were
    there already, so its packets are numbered by themselves and bound no other part's.
    """

    recording: str
    channel: str
    seq: int
    base_ms: int
    start_ms: int
    recording_base_ms: int
    first_seq: int
    started_at: float
    recording_started_at: float
    gap: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True)
class ClosedPart:
    """A part nothing more is written to.

    ``end_ms``: DTS of what follows it without a gap, None where that is not known. ``before_seq``: only packets
    numbered below it count, a later part holds the others. ``closed_at``: unix seconds, 0 where an earlier run left it.
    """

    path: Path
    info: PartInfo
    end_ms: int | None = None
    before_seq: int | None = None
    closed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """A part read back: packets on the stream's timeline, the verified length in bytes, the last packet's number.

    ``notes``: what its packets came with, each with how many of those are here.
    """

    info: PartInfo
    packets: list[Packet]
    tracks: Tracks
    verified_length: int
    last_seq: int
    notes: list[Note]


def part_header(info: PartInfo, opening: Tracks) -> bytes:
    """The bytes a part begins with: FLV header, metadata, the sequence headers in force."""
    fields: dict[str, amf0.AmfValue] = {
        "recording": info.recording,
        "channel": info.channel,
        "seq": info.seq,
        "baseMs": info.base_ms,
        "startMs": info.start_ms,
        "recordingBaseMs": info.recording_base_ms,
        "firstSeq": info.first_seq,
        "startedAt": info.started_at,
        "recordingStartedAt": info.recording_started_at,
        "gap": info.gap,
        "late": info.late,
    }
    described = flv.describe(opening, {})
    body = amf0.encode("onMetaData", amf0.EcmaArray({**described, "fieldRelay": fields}))
    stamp = info.start_ms - info.base_ms
    out = [flv.file_header(has_video=True, has_audio=True), flv.tag(flv.SCRIPT, stamp, body)]
    for type_id, track in zip((flv.VIDEO, flv.AUDIO), opening, strict=True):
        header = None if track is None else flv.sequence_header(track)
        if header is not None:
            out.append(flv.tag(type_id, stamp, header))
    return b"".join(out)


def note_tag(note: Note, timestamp: int) -> bytes:
    """The tag that says what the next ``note.packets`` packets came with: a script tag, so that any player skips it."""
    text = note.text[:NOTE_CHARS].encode(errors="replace").decode()
    return flv.tag(flv.SCRIPT, timestamp, amf0.encode("relayNote", {"text": text, "packets": note.packets}))


def commit_tag(run: bytes, *, offset: int, seq: int, packets: int, timestamp: int) -> bytes:
    """The tag that seals ``run``, the bytes since the commit before it (or the start of the file).

    ``offset`` is where in the file this tag begins, ``seq`` the stream's number of the last packet before it,
    ``packets`` how many packets the part holds. The CRC-32C covers the run and this tag up to the checksum.
    """
    values: dict[str, amf0.AmfValue] = {"offset": offset, "seq": seq, "packets": packets, "crc32c": 0}
    blank = flv.tag(flv.SCRIPT, timestamp, amf0.encode("relayCommit", values))
    sealed = blank[: -_AFTER_CRC - 8]
    values["crc32c"] = google_crc32c.extend(google_crc32c.value(run), sealed)
    return flv.tag(flv.SCRIPT, timestamp, amf0.encode("relayCommit", values))


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that verified: the file is good up to ``end``."""

    end: int
    seq: int
    packets: int


def commits(data: bytes) -> Iterator[Commit]:
    """Every commit of a part's bytes, from the start up to the first that does not verify."""
    view = memoryview(data)
    run = 0
    at = 13
    while at + 15 <= len(data):
        size = int.from_bytes(view[at + 1 : at + 4], "big")
        end = at + 15 + size
        if end > len(data):
            return
        if data[at] == flv.SCRIPT and size == _COMMIT_BODY and data.startswith(_COMMIT, at + 11):
            found = _read_commit(data, run, at, end)
            if found is None:
                return
            yield found
            run = end
        at = end


def _read_commit(data: bytes, run: int, at: int, end: int) -> Commit | None:
    try:
        _, values = amf0.decode(data[at + 11 : end - 4])
    except (ProtocolError, ValueError):
        return None
    if not isinstance(values, dict):
        return None
    seq, packets = int(amf0.number(values.get("seq"))), int(amf0.number(values.get("packets")))
    timestamp = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
    expected = commit_tag(data[run:at], offset=at, seq=seq, packets=packets, timestamp=timestamp)
    return Commit(end, seq, packets) if data[at:end] == expected else None


def recover(path: Path, before_seq: int | None = None) -> int:
    """How many bytes of the part at ``path`` are verified; 0 when none are. Raises SpoolError (disk).

    With ``before_seq``, only commits of packets numbered below it: a later part holds the rest.
    """
    return _verified(_read(path), before_seq)[0]


def _verified(data: bytes, before_seq: int | None) -> tuple[int, int]:
    length, last_seq = 0, 0
    for commit in commits(data):
        if before_seq is not None and commit.seq >= before_seq:
            break
        length, last_seq = commit.end, commit.seq
    return length, last_seq


def read_part(path: Path, before_seq: int | None = None) -> Part | None:
    """What is verified of the part at ``path``, or None where nothing is.

    Raises SpoolError when the disk fails or a verified part does not hold what a part holds.
    """
    data = _read(path)
    length, last_seq = _verified(data, before_seq)
    if not length:
        return None
    try:
        tags = flv.TagReader().feed(memoryview(data)[:length])
        info = _info(tags[0])
        depacketizer = flv.Depacketizer(FileClock())
        packets: list[Packet] = []
        found: list[tuple[Note, int]] = []
        for tag in tags[1:]:
            if tag.type_id == flv.SCRIPT:
                note = _read_note(tag.body)
                if note is not None:
                    found.append((note, len(packets)))
                continue
            packet = depacketizer.feed(tag.type_id, tag.timestamp, tag.body)
            if packet is not None:
                packets.append(packet)
    except (ProtocolError, LookupError, TypeError, ValueError) as error:
        raise SpoolError(f"{path}: verified, and yet not a part: {error}") from error
    shift = info.base_ms
    if packets and packets[0].dts_ms + shift - info.start_ms > _WRAP // 2:
        shift -= _WRAP  # packets older than the base were written as 32-bit numbers below zero
    packets = [
        Packet(packet.track, packet.dts_ms + shift, packet.pts_ms + shift, packet.is_keyframe, packet.data)
        for packet in packets
    ]
    ends = [*(at for _, at in found[1:]), len(packets)]
    notes = [Note(note.text, min(note.packets, end - at)) for (note, at), end in zip(found, ends, strict=False)]
    notes = [note for note in notes if note.packets > 0]
    return Part(info, packets, (depacketizer.video, depacketizer.audio), length, last_seq, notes)


def _read_note(body: bytes) -> Note | None:
    """What a note's tag says; None for another script tag. Raises ProtocolError, ValueError."""
    if not body.startswith(_NOTE):
        return None
    _, values = amf0.decode(body)
    if not isinstance(values, dict):
        raise ValueError("a note that is none")
    return Note(str(values.get("text", "")), int(amf0.number(values.get("packets"))))


def read_info(path: Path) -> PartInfo | None:
    """What the part at ``path`` says of itself, read from its first tag only; None where it does not.

    Raises SpoolError when the disk fails.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_FIRST_TAG)
            size = int.from_bytes(head[-3:], "big")
            first = head + file.read(size + 11)  # what follows it may be torn
    except OSError as error:
        raise SpoolError(f"cannot read {path}: {error.strerror}") from error
    try:
        return _info(flv.TagReader().feed(first)[0])
    except (ProtocolError, LookupError, TypeError, ValueError):
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpoolError(f"cannot read {path}: {error.strerror}") from error


def _info(tag: flv.Tag) -> PartInfo:
    name, values = amf0.decode(tag.body)
    if name != "onMetaData" or not isinstance(values, dict):
        raise ValueError("its first tag is no metadata")
    found = values["fieldRelay"]
    if not isinstance(found, dict):
        raise TypeError("its metadata is another program's")
    return PartInfo(
        recording=str(found["recording"]),
        channel=str(found["channel"]),
        seq=_whole(found["seq"]),
        base_ms=_whole(found["baseMs"]),
        start_ms=_whole(found["startMs"]),
        recording_base_ms=_whole(found["recordingBaseMs"]),
        first_seq=_whole(found["firstSeq"]),
        started_at=_clock(found["startedAt"]),
        recording_started_at=_clock(found["recordingStartedAt"]),
        gap=str(found["gap"]),
        late=bool(found.get("late", False)),
    )


def _whole(value: amf0.AmfValue) -> int:
    """A whole number as a double holds it. Raises ValueError for everything else."""
    number = amf0.number(value, math.nan)
    if not abs(number) <= _MOST:
        raise ValueError("its metadata has a number that is none")
    return int(number)


def _clock(value: amf0.AmfValue) -> float:
    """Unix seconds of a time that can be. Raises ValueError for everything else."""
    number = amf0.number(value, math.nan)
    if not 0 <= number <= _LAST_S:
        raise ValueError("its metadata has a time that is none")
    return number


# --- files -----------------------------------------------------------------------------------------------------------


def part_number(path: Path) -> int | None:
    """The number in a part's name, open or closed; None for other files."""
    match = _PART.fullmatch(path.name)
    return None if match is None else int(match[1])


class Spool:
    """``root``/<channel>/<recording>/: the parts, and the segments made of them, until they are safe elsewhere."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, channel: str, recording: str) -> Path:
        return self.root / channel / recording

    def folders(self) -> list[Path]:
        """Every recording's folder."""
        return [path for path in self.root.glob("*/*") if path.is_dir()]

    def remove(self, folder: Path) -> None:
        """Remove a recording's empty folder, and its channel's where that was the last. Others' files stay."""
        for path in (folder, folder.parent):
            try:
                path.rmdir()
            except OSError:
                return  # something is in it again


def same_tracks(one: Track | None, other: Track | None) -> bool:
    """Whether two tracks decode alike: a new connection's equal header is no change."""
    return one is other or one == other
