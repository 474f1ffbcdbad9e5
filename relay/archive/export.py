"""Export: a piece of a recording as one MP4 file, made while it is read, segment after segment, never re-encoded.

Its time begins at 0 with a keyframe. Gaps are closed: what follows one is moved up behind what was before it, picture
and sound together, because players stop or lose sync at holes; what is missing stays listed with the recording.
"""

import hashlib
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from relay.archive.library import Library
from relay.archive.playlist import file_name
from relay.archive.ranges import end_of, offset, read_range
from relay.archive.recording import GAP_OVER_MS
from relay.database import RecordingRow, SegmentRow
from relay.errors import ConflictError, InvalidError, MediaError, NotFoundError, ProtocolError
from relay.media import TrackKind
from relay.protocol import mp4
from relay.protocol.mp4 import Run, TrackScale

Scales = Mapping[TrackKind, TrackScale]
LISTED = 20  # pieces an error names


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment's part of the file: its size in bytes there; ``keep``: which samples, by track, where not all."""

    segment: SegmentRow
    size: int
    keep: Mapping[int, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """One file to be made. ``start_ms``: its start in the recording's media time."""

    library: Library
    row: RecordingRow
    init: bytes
    scales: Scales
    pieces: Sequence[Piece]
    start_ms: int
    duration_s: float

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.init) + sum(piece.size for piece in self.pieces)

    @property
    def name(self) -> str:
        return f"{self.row.channel}-{self.row.id}.mp4"

    @property
    def tag(self) -> str:
        """Tells the file from any other: made again of the same segments, it is the same to the byte."""
        made_of = [(piece.segment.sha256, piece.size, piece.keep) for piece in self.pieces]
        return hashlib.blake2b(repr((self.init, self.start_ms, made_of)).encode(), digest_size=12).hexdigest()

    async def chunks(self, first: int = 0) -> AsyncGenerator[bytes]:
        """The file from its byte ``first`` on, one segment at a time.

        Raises StoreError or MediaError where a segment is not what it was.
        """
        at, index = len(self.init), 0
        if first < at:
            yield self.init[first:]
        while index < len(self.pieces) and at + self.pieces[index].size <= first:
            at += self.pieces[index].size
            index += 1
        splice = await self._spliced(index)
        for sequence, piece in enumerate(self.pieces[index:], index + 1):

            def place(data: bytes, piece: Piece = piece, sequence: int = sequence) -> bytes:
                return splice.place(sequence, piece.segment, _kept(_runs(data, piece.segment), piece.keep))

            data = await self.library.segment(self.row, piece.segment, place)
            if len(data) != piece.size:
                raise MediaError(f"{piece.segment.object_key}: {len(data)} bytes where {piece.size} were expected")
            yield data[max(0, first - at) :]
            at += len(data)

    async def _spliced(self, index: int) -> "Splice":
        """A splice that has placed all pieces before ``index``, of which it reads no more than those around holes."""
        splice, known = Splice(self.scales, self.start_ms), 0
        segments = [piece.segment for piece in self.pieces]
        holes = [at for at in range(1, index) if _is_hole(segments[at - 1], segments[at])]
        for at in (*holes, index):
            unseen = set(splice.tracks)
            for earlier in range(at - 1, known - 1, -1):
                if not unseen:
                    break
                runs = [run for run in await self._runs_of(earlier) if run.track_id in unseen]
                splice.passed(segments[earlier], runs)
                unseen -= {run.track_id for run in runs}
            splice.passed(segments[at - 1] if at else None, ())
            if at < index:
                splice.follow(segments[at], await self._runs_of(at))
            known = at + 1
        return splice

    async def _runs_of(self, index: int) -> list[Run]:
        piece = self.pieces[index]
        return await self.library.segment(
            self.row, piece.segment, lambda data: _kept(_runs(data, piece.segment), piece.keep)
        )


class Splice:
    """Puts segments one behind the other on a new timeline that begins at media time ``start_ms``."""

    def __init__(self, scales: Scales, start_ms: int) -> None:
        self._rates = {scale.track_id: scale.timescale for scale in scales.values()}
        self._shift_ms = start_ms
        self._before: SegmentRow | None = None
        self._ends_ms: dict[int, int] = {}  # where each track's last run ended, in media time

    @property
    def tracks(self) -> Iterable[int]:
        """The numbers of the tracks there can be."""
        return self._rates

    def place(self, sequence: int, segment: SegmentRow, runs: Sequence[Run]) -> bytes:
        """Fragment ``sequence``, of ``runs`` of ``segment``. Raises MediaError for a track that nothing describes."""
        self.follow(segment, runs)
        return mp4.write_runs(sequence, [run._replace(dts=max(0, run.dts - self._ticks(run))) for run in runs])

    def follow(self, segment: SegmentRow, runs: Sequence[Run]) -> None:
        """Go on with ``runs`` of ``segment``, which nothing is written of. Raises MediaError as ``place``."""
        if any(run.track_id not in self._rates for run in runs):
            raise MediaError(f"{segment.object_key} has a track its init segment does not know")
        before = self._before
        if before is not None and _is_hole(before, segment):
            # Up to what was before, as far as no track runs into itself: both move by the same, so they stay in sync.
            holes = [segment.start_ms - end_of(before)]
            holes += [
                self._ms(run, run.dts) - self._ends_ms[run.track_id] for run in runs if run.track_id in self._ends_ms
            ]
            self._shift_ms += max(0, min(holes))
        self.passed(segment, runs)

    def passed(self, segment: SegmentRow | None, runs: Sequence[Run]) -> None:
        """Whatever comes next comes behind ``segment``, and behind ``runs``, the last of their tracks."""
        self._before = segment
        self._ends_ms.update({run.track_id: -(-run.end * 1000 // self._rates[run.track_id]) for run in runs})

    def _ms(self, run: Run, ticks: int) -> int:
        return ticks * 1000 // self._rates[run.track_id]

    def _ticks(self, run: Run) -> int:
        return (self._shift_ms * self._rates[run.track_id] + 500) // 1000


async def prepare(library: Library, recording: str, start: str = "", end: str = "") -> Export:
    """Find what an export from ``start`` to ``end`` (ranges.FORMS; empty: all of it so far) is made of.

    Raises NotFoundError, InvalidError for a range that is none, ConflictError for one that one MP4 cannot hold,
    StoreError, MediaError.
    """
    row, segments, _ = await library.parts_of(recording)
    if row.state == "deleting":
        raise NotFoundError(f"recording {recording} is being deleted")
    if not segments:
        raise ConflictError(f"nothing of {recording} is packaged yet; try again in some seconds")
    start_ms, end_ms = read_range(segments, start, end)
    wanted = [item for item in segments if item.start_ms < end_ms and end_of(item) > start_ms]
    if not wanted:
        raise InvalidError(
            f"nothing was recorded between {offset(start_ms)} and {offset(end_ms)}: that time is missing; "
            f"`relay recording gaps {recording}` lists what is"
        )
    inits = {key: await library.load(row, file_name(key)) for key in sorted({item.init_key for item in wanted} - {""})}
    _demand_one_format(wanted, inits, start_ms, end_ms)
    planner = _Planner(library, row, segments, inits[wanted[0].init_key])
    return await planner.plan(segments.index(wanted[0]), segments.index(wanted[-1]), start_ms, end_ms)


def _demand_one_format(wanted: Sequence[SegmentRow], inits: Mapping[str, bytes], start_ms: int, end_ms: int) -> None:
    """Raises ConflictError naming the pieces that can be exported where not all of ``wanted`` can be one file."""
    groups = [(init, list(group)) for init, group in groupby(wanted, lambda item: inits.get(item.init_key, b""))]
    if len(groups) == 1 and groups[0][0]:
        return
    bounds = [max(start_ms, wanted[0].start_ms), *(group[0].start_ms for _, group in groups[1:])]
    bounds.append(min(end_ms, end_of(wanted[-1])))
    pieces = [
        f"from={first / 1000:.3f} to={last / 1000:.3f}"
        for (init, _), (first, last) in zip(groups, pairwise(bounds), strict=True)
        if init
    ]
    flv = [file_name(item.object_key) for item in wanted if not item.init_key]
    if flv:
        words = f"{', '.join(flv[:LISTED])}: kept as FLV only, because MP4 cannot hold it"
    else:
        words = f"the picture or sound format changes at {', '.join(offset(at) for at in bounds[1:-1][:LISTED])}"
    able = f"; these can be exported, each by itself: {'; '.join(pieces[:LISTED])}" if pieces else ""
    raise ConflictError(f"one MP4 cannot hold all of this ({words}){able}")


class _Planner:
    """Finds the pieces of an export in ``segments``, reading the few that must be cut."""

    def __init__(self, library: Library, row: RecordingRow, segments: Sequence[SegmentRow], init: bytes) -> None:
        self._library = library
        self._row = row
        self._segments = segments
        self._init = init
        try:
            self._scales = mp4.read_init(init)
        except ProtocolError as error:
            raise MediaError(f"the init segment of {row.id}: {error}") from error

    async def plan(self, first: int, last: int, start_ms: int, end_ms: int) -> Export:
        """Segments ``first`` to ``last``, the range cut out of them."""
        first, key_ms = await self._find_start(first, last, start_ms)
        begin_ms = key_ms
        pieces = []
        for segment in self._segments[first : last + 1]:
            from_ms = key_ms if segment is self._segments[first] else None
            to_ms = end_ms if end_ms < end_of(segment) else None
            if from_ms is None and to_ms is None:
                pieces.append(Piece(segment, segment.bytes))
                continue
            piece, starts_ms = await self._cut(segment, from_ms, to_ms)
            if piece is not None:
                pieces.append(piece)
            if from_ms is not None:
                begin_ms = starts_ms
        used = [piece.segment for piece in pieces]
        closed_ms = sum(hole for one, other in pairwise(used) if (hole := other.start_ms - end_of(one)) > GAP_OVER_MS)
        length_ms = min(end_ms, end_of(used[-1])) - begin_ms - closed_ms
        return Export(self._library, self._row, self._init, self._scales, pieces, begin_ms, max(0, length_ms) / 1000)

    async def _cut(self, segment: SegmentRow, from_ms: int | None, to_ms: int | None) -> tuple[Piece | None, int]:
        """What is kept of a segment, if anything, and where it begins in ms of media time."""

        def cut(data: bytes) -> tuple[Piece | None, int]:
            runs = _runs(data, segment)
            keep = _samples(runs, self._scales, from_ms, to_ms)
            kept = _kept(runs, keep)
            if not kept:
                return None, 0
            starts_ms = min(_start_ms(run, self._scales) for run in kept)
            return Piece(segment, len(mp4.write_runs(0, kept)), keep), starts_ms

        return await self._library.segment(self._row, segment, cut)

    async def _find_start(self, first: int, last: int, start_ms: int) -> tuple[int, int]:
        """(segment's index, ms of media time) of the keyframe at or before ``start_ms``; without one, of the next.

        Raises ConflictError where there is none at all.
        """
        at = first
        while True:
            before = [key_ms for key_ms in await self._keyframes(at) if key_ms <= start_ms]
            if before:
                return at, before[-1]
            if at == 0 or not _follows(self._segments[at - 1], self._segments[at]):
                break
            at -= 1
        for at in range(first, last + 1):
            if found := await self._keyframes(at):
                return at, found[0]
        raise ConflictError("there is no keyframe in this range, nor one to start from before it")

    async def _keyframes(self, index: int) -> list[int]:
        """Where decoding can begin in a segment, in ms of media time, in order."""
        segment = self._segments[index]

        def find(data: bytes) -> list[int]:
            run = _leading(_runs(data, segment), self._scales)
            if run is None:
                return []
            rate = _rate(self._scales, run)
            return [round(dts * 1000 / rate) for dts, _, is_sync in run.samples() if is_sync]

        return await self._library.segment(self._row, segment, find)


def _is_hole(one: SegmentRow, other: SegmentRow) -> bool:
    return other.start_ms - end_of(one) > GAP_OVER_MS


def _follows(one: SegmentRow, other: SegmentRow) -> bool:
    """Whether a decoder can go on from ``one`` to ``other``."""
    return one.init_key == other.init_key and not _is_hole(one, other)


# --- samples ---------------------------------------------------------------------------------------------------------


def _runs(data: bytes, segment: SegmentRow) -> list[Run]:
    try:
        return mp4.read_runs(data)
    except ProtocolError as error:
        raise MediaError(f"{segment.object_key}: {error}") from error


def _kept(runs: Sequence[Run], keep: Mapping[int, tuple[int, int]] | None) -> list[Run]:
    if keep is None:
        return list(runs)
    return [run.part(*keep[run.track_id]) for run in runs if run.track_id in keep]


def _rate(scales: Scales, run: Run) -> int:
    """Ticks per second of a run's track. Raises MediaError where the init segment has no such track."""
    for scale in scales.values():
        if scale.track_id == run.track_id:
            return scale.timescale
    raise MediaError(f"track {run.track_id} is not in the init segment")


def _leading(runs: Sequence[Run], scales: Scales) -> Run | None:
    """The run a cut goes by: the video's, or the audio's where there is none."""
    for kind in (TrackKind.VIDEO, TrackKind.AUDIO):
        for run in runs:
            if kind in scales and run.track_id == scales[kind].track_id:
                return run
    return None


def _samples(
    runs: Sequence[Run], scales: Scales, from_ms: int | None, to_ms: int | None
) -> dict[int, tuple[int, int]] | None:
    """(first, one past the last) sample to keep, by track; None where all are.

    From ``from_ms``, the time of a keyframe: where that is the first of the segment, sound from before it stays. Up to
    ``to_ms`` as it is shown; a picture shown later stays where those before it need it.
    """
    leading = _leading(runs, scales)
    inside = from_ms is not None and leading is not None and _start_ms(leading, scales) < from_ms
    keep: dict[int, tuple[int, int]] = {}
    for run in runs:
        rate = _rate(scales, run)
        samples = list(run.samples())
        first, last = 0, len(samples)
        if from_ms is not None and inside:
            first = sum(round(dts * 1000 / rate) < from_ms for dts, _, _ in samples)
        if to_ms is not None:
            late = next((pts - dts for dts, pts, is_sync in samples if is_sync), 0)
            shown = [number for number, (_, pts, _) in enumerate(samples) if (pts - late) * 1000 < to_ms * rate]
            last = shown[-1] + 1 if shown else 0
        if first < last:
            keep[run.track_id] = (first, last)
    whole = all(keep.get(run.track_id) == (0, len(run.table) // 16) for run in runs)
    return None if whole else keep


def _start_ms(run: Run, scales: Scales) -> int:
    """Where a run begins, in ms of media time."""
    return round(run.dts * 1000 / _rate(scales, run))
