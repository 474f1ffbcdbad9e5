"""Recording: what the archive knows of one event while parts become segments; and the step that makes them so."""

import hashlib
import math
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from relay.archive.notes import dumped
from relay.archive.packager import InitSegment, init_segment, media_segment, tracks_of
from relay.archive.painter import Painter
from relay.archive.playlist import GAP_DATA, GAP_NAME
from relay.archive.recorder import Earlier
from relay.archive.spool import ClosedPart, Part, read_part
from relay.database import GapRow, RecordingRow, SegmentRow
from relay.errors import MediaError, RelayError
from relay.files import write_file
from relay.media import Packet, TrackKind

log = structlog.get_logger("relay.archive")

SEGMENT_SUFFIX = ".m4s"
RAW_SUFFIX = ".raw.flv"  # a segment that MP4 cannot hold
THUMBNAIL = "thumb-{:06d}.jpg"
_TYPES = {"m4s": "video/iso.segment", "mp4": "video/mp4", "flv": "video/x-flv", "jpg": "image/jpeg"}
GAP_OVER_MS = 100
NOT_COMMITTED = "not on the spool disk"
ALONE_MS = 500  # a track on its own for longer than this is not just its frames being of another length
_FRAME_MS = {TrackKind.VIDEO: 33, TrackKind.AUDIO: 21}


@dataclass(slots=True)
class Paper:
    """A document beside the segments: whether it is to be written, is being, and when it last was (monotonic s)."""

    due: bool = False
    busy: bool = False
    written_at: float = field(default_factory=time.monotonic)


class Recording:
    """One event, across any number of parts, reconnects and restarts. Media times count from its first packet."""

    def __init__(self, recording_id: str, channel: str, folder: Path) -> None:
        self.id = recording_id
        self.channel = channel
        self.folder = folder
        self.prefix = f"{channel}/{recording_id}"
        self.started_at = 0.0
        self.base_ms = 0
        self.segments: list[SegmentRow] = []
        self.gaps: dict[int, GapRow] = {}  # by start
        self.stored: set[int] = set()
        self.inits: dict[str, InitSegment] = {}  # by object key, the newest last
        self.init_facts: dict[str, tuple[int, str]] = {}  # size and SHA-256, by object key
        self.init_count = 0
        self.stored_files: set[str] = set()  # keys of stored init segments and thumbnails
        self.thumbnail_ms: int | None = None  # media time of the last
        self.next_number = 0
        self.end_ms: int | None = None  # media time at which the last segment ends
        self.ended_at: float | None = None  # wall clock of that, unix seconds
        self.ended_cleanly = True
        self.is_live = False
        self.is_complete = False
        self.is_placed = False  # whether ``base_ms`` is that of the stream that runs, or ran last, in this process
        self.listed = -1  # number of the last segment that the papers in the store may name
        self.is_gone = False  # deleted: what still comes through to the store goes at once
        self.playlist = Paper()
        self.manifest = Paper()

    def take_up(self, row: RecordingRow, segments: Sequence[SegmentRow], gaps: Sequence[GapRow]) -> None:
        """Go on from what the catalog has."""
        self.started_at, self.base_ms = row.started_at, row.base_ms
        self.gaps = {gap.start_ms: gap for gap in gaps}
        self.is_complete = row.state == "complete"
        self.ended_cleanly = row.ended_cleanly
        for segment in segments:
            self.advance(segment)
            if segment.stored:
                self.stored.add(segment.seq)
                self.stored_files.add(segment.init_key)
                self.listed = segment.seq
            stem = segment.init_key.rpartition("/init-")[2].removesuffix(".mp4")
            if stem.isdigit():
                self.init_count = max(self.init_count, int(stem))

    def go_live(self) -> None:
        """Media is coming. Papers that say the recording is complete are untrue with the first segment stored."""
        self.is_live = True
        self.is_placed = False  # until the recorder says
        if self.is_complete:
            self.playlist.written_at = self.manifest.written_at = -math.inf
        self.is_complete = False

    def advance(self, segment: SegmentRow) -> None:
        """A segment was packaged: the recording ends with it for now."""
        if not self.segments or self.segments[-1].seq < segment.seq:
            self.segments.append(segment)
        else:
            others = [other for other in self.segments if other.seq != segment.seq]
            self.segments = sorted([*others, segment], key=lambda item: item.seq)
        last = self.segments[-1]
        if segment.thumbnail:
            self.thumbnail_ms = segment.start_ms
        self.extend(media_end_ms(last), last.started_at + last.duration_s, last.seq + 1)

    def rejoin(self, segment: SegmentRow) -> None:
        """A segment is not what it was, because of one that came before it: the papers are untrue without that."""
        self.segments = [segment if other.seq == segment.seq else other for other in self.segments]
        self.playlist.written_at = self.manifest.written_at = -math.inf

    def extend(self, end_ms: int, ended_at: float, next_number: int) -> None:
        """The recording reaches to media time ``end_ms``, unix seconds ``ended_at``, though not packaged yet."""
        self.next_number = max(self.next_number, next_number)
        if self.end_ms is None or end_ms > self.end_ms:
            self.end_ms, self.ended_at = end_ms, ended_at

    def earlier(self) -> Earlier | None:
        """What a recorder that goes on with this recording must know; None where there is nothing yet."""
        if self.end_ms is None or self.ended_at is None:
            return None
        return Earlier(self.started_at, self.ended_at, self.end_ms, self.next_number)

    @property
    def all_stored(self) -> bool:
        return len(self.stored) >= len(self.segments)

    @property
    def is_busy(self) -> bool:
        """Whether anything about it is still to be done."""
        papers = (self.playlist, self.manifest)
        return not (self.is_complete and self.all_stored) or any(paper.due or paper.busy for paper in papers)

    def segment_of(self, name: str) -> SegmentRow | None:
        """The segment whose media is in the file ``name``."""
        key = f"{self.prefix}/{name}"
        return next((segment for segment in self.segments if segment.object_key == key), None)

    def is_stored(self, name: str) -> bool:
        """Whether the file ``name`` is in the store, verified."""
        stem = name.partition(".")[0]
        if stem.isdigit() and name.endswith((SEGMENT_SUFFIX, RAW_SUFFIX)):
            return int(stem) in self.stored
        return f"{self.prefix}/{name}" in self.stored_files

    @staticmethod
    def is_init(name: str) -> bool:
        return name.startswith("init-")

    def storable(self) -> list[SegmentRow]:
        """The segments up to the first one that is not stored yet: what a playlist in the store may name."""
        kept: list[SegmentRow] = []
        for segment in self.segments:
            if segment.seq not in self.stored or (segment.init_key and segment.init_key not in self.stored_files):
                break
            kept.append(segment)
        return kept


@dataclass(frozen=True, slots=True)
class PackagedFile:
    path: Path
    key: str
    content_type: str

    @classmethod
    def at(cls, path: Path, key: str) -> "PackagedFile":
        """The file at ``path``, its content type by its name."""
        return cls(path, key, _TYPES[path.suffix[1:]])


@dataclass(slots=True)
class Packaged:
    """What one part became: a segment (None: it held no media), a gap before it, and files to upload in order."""

    segment: SegmentRow | None = None
    gap: GapRow | None = None
    files: list[PackagedFile] = field(default_factory=list)


def _segment(
    recording: Recording, closed: ClosedPart, part: Part, end_ms: int
) -> tuple[str, list[PackagedFile], PackagedFile, bytes]:
    """(init key, new init segments, the segment's file, its bytes). Raises MediaError, OSError."""
    key, init, new = _init_for(recording, part)
    has_video = any(packet.is_video for packet in part.packets)
    ends = {TrackKind.VIDEO if has_video else TrackKind.AUDIO: end_ms}
    base_ms = part.info.recording_base_ms
    data = media_segment(closed.info.seq + 1, part.packets, init, base_ms=base_ms, ends_ms=ends)
    file = closed.path.with_name(f"{closed.info.seq:06d}{SEGMENT_SUFFIX}")
    write_file(file, data)
    return key, new, PackagedFile.at(file, f"{recording.prefix}/{file.name}"), data


def media_end_ms(segment: SegmentRow) -> int:
    """Media time in ms at which a segment ends."""
    return segment.start_ms + round(segment.duration_s * 1000)


def package(recording: Recording, closed: ClosedPart, painter: Painter | None = None) -> Packaged:
    """Turn a closed (or left behind) part into a segment file beside it. Blocks; repeatable.

    With a thumbnail of its first keyframe by ``painter``, where it is time for one.
    Raises SpoolError when the part cannot be read, OSError when the disk fails.
    """
    part = read_part(closed.path, closed.before_seq)
    if part is None or not part.packets:
        return Packaged()
    seq = closed.info.seq
    base_ms = part.info.recording_base_ms
    start_ms, end_ms = _span(part, closed)
    try:
        key, new, media, data = _segment(recording, closed, part, end_ms)
    except (RelayError, ValueError, LookupError, struct.error) as error:
        # What cannot be packaged is kept as it came: the part itself becomes the object.
        log.error("kept as FLV", part=str(closed.path), reason=str(error))
        file = closed.path.with_name(f"{seq:06d}{RAW_SUFFIX}")
        data = closed.path.read_bytes()[: part.verified_length]
        write_file(file, data)
        key, new = "", []
        media = PackagedFile.at(file, f"{recording.prefix}/{file.name}")
    first_video = next((packet for packet in part.packets if packet.is_video), None)
    earlier = [segment for segment in recording.segments if segment.seq < seq]
    gap = _gap(media_end_ms(earlier[-1]), part, start_ms - base_ms) if earlier else None
    picture = None
    last_ms, at_ms = recording.thumbnail_ms, max(0, start_ms - base_ms)
    every_s = 0.0 if painter is None else painter.every_s
    if painter is not None and every_s and (last_ms is None or at_ms - last_ms >= every_s * 1000):
        picture = _thumbnail(recording, painter, closed.path.parent, seq, first_video, at_ms)
    segment = SegmentRow(
        seq=seq,
        object_key=media.key,
        init_key=key,
        started_at=part.info.started_at + (start_ms - part.info.start_ms) / 1000,
        start_ms=at_ms,
        duration_s=(end_ms - start_ms) / 1000,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        starts_with_keyframe=first_video is None or first_video.is_keyframe,
        discontinuity=gap is not None or (bool(earlier) and earlier[-1].init_key != key),
        thumbnail=picture is not None,
        notes=dumped(part.notes),
    )
    recording.advance(segment)
    marker = [] if gap is None else [_gap_marker(recording, closed.path.parent)]
    return Packaged(segment, gap, [*new, *marker, media, *([] if picture is None else [picture])])


def _gap_marker(recording: Recording, folder: Path) -> PackagedFile:
    """What the playlist names where media is missing, beside the segments. Raises OSError."""
    path = folder / GAP_NAME
    if not path.exists():
        write_file(path, GAP_DATA)
    return PackagedFile.at(path, f"{recording.prefix}/{GAP_NAME}")


def _thumbnail(
    recording: Recording, painter: Painter, folder: Path, seq: int, first: Packet | None, at_ms: int
) -> PackagedFile | None:
    """A picture of keyframe ``first``; None where there is none, or none can be made. Raises OSError."""
    if first is None or not first.is_keyframe:
        return None
    recording.thumbnail_ms = at_ms  # also where it fails: the next try is as far away as the next picture
    try:
        data = painter.jpeg(first)
    except MediaError as error:
        log.warning("no thumbnail", recording=recording.id, segment=seq, reason=str(error))
        return None
    path = folder / THUMBNAIL.format(seq)
    write_file(path, data)
    return PackagedFile.at(path, f"{recording.prefix}/{path.name}")


def _gap(before_ms: int, part: Part, start_ms: int) -> GapRow | None:
    """The hole between media time ``before_ms``, where the segment before ends, and ``start_ms``."""
    hole_ms = start_ms - before_ms
    if hole_ms <= GAP_OVER_MS:
        return None
    return GapRow(start_ms=before_ms, length_ms=hole_ms, reason=part.info.gap or NOT_COMMITTED)


def _span(part: Part, closed: ClosedPart) -> tuple[int, int]:
    """(start, end) of a part in ms on the stream's timeline: of its video, or of its audio where it has none.

    It ends at what follows it, or else a frame after its last. Sound that begins or ends some frames off counts
    with the picture; sound that goes on without it counts for itself.
    """
    start_ms, end_ms = span(part.packets, part.info.start_ms)
    whole = closed.before_seq is None or part.last_seq + 1 >= closed.before_seq
    if closed.end_ms is not None and whole:
        return start_ms, closed.end_ms
    return start_ms, end_ms


def span(packets: Sequence[Packet], start_ms: int) -> tuple[int, int]:
    """(start, end) in ms of ``packets`` (at least one), which begin at ``start_ms``, by themselves."""
    videos = [packet.dts_ms for packet in packets if packet.is_video]
    sounds = [packet.dts_ms for packet in packets if not packet.is_video]
    if videos and videos[0] - start_ms <= ALONE_MS:
        start_ms = videos[0]
    ends = [_after(times, kind) for times, kind in ((videos, TrackKind.VIDEO), (sounds, TrackKind.AUDIO)) if times]
    end_ms = ends[0] if max(ends) - ends[0] <= ALONE_MS else max(ends)
    return start_ms, max(start_ms, end_ms)


def _after(times: list[int], kind: TrackKind) -> int:
    """Where a track's last frame ends."""
    step_ms = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else _FRAME_MS[kind]
    return times[-1] + round(step_ms)


def _init_for(recording: Recording, part: Part) -> tuple[str, InitSegment, list[PackagedFile]]:
    """(object key, init segment, its file where it is new) for the part's tracks: the newest that covers them."""
    tracks = tracks_of(part.packets)
    for key, known in reversed(recording.inits.items()):
        if known.covers(tracks):
            return key, known, []
    init = init_segment(part.packets)
    recording.init_count += 1
    path = recording.folder / f"init-{recording.init_count}.mp4"
    write_file(path, init.data)
    key = f"{recording.prefix}/{path.name}"
    recording.inits[key] = init
    recording.init_facts[key] = (len(init.data), hashlib.sha256(init.data).hexdigest())
    return key, init, [PackagedFile.at(path, key)]
