"""Fragmented MP4 (ISO/IEC 14496-12): media segments out of packets, byte for byte, and readers to check them with."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from relay.errors import ProtocolError
from relay.media import Packet, TrackKind

_SYNC, _NOT_SYNC = 0x02000000, 0x01010000  # §8.8.3.1: depends on nothing; depends on others and is no sync sample
_TRUN = 0x01000F01  # §8.8.8: data offset, and each sample's duration, size, flags, signed composition offset
_SAMPLE = struct.Struct(">IIIi")
_32_BITS = 0xFFFFFFFF
_FALLBACK_MS = {TrackKind.VIDEO: 33, TrackKind.AUDIO: 21}  # the length of a lone frame nobody can know


class TrackScale(NamedTuple):
    """A track of an init segment: its number, and its ticks per second."""

    track_id: int
    timescale: int


class Sample(NamedTuple):
    """One sample read back. ``dts`` and ``cts_offset`` in ticks of the track."""

    track_id: int
    dts: int
    cts_offset: int
    is_sync: bool
    payload: bytes


class Run(NamedTuple):
    """A track's samples in a fragment: DTS of the first in ticks, a table of 16 bytes each (§8.8.8), their payload."""

    track_id: int
    dts: int
    table: bytes
    payload: bytes | memoryview

    def samples(self) -> Iterator[tuple[int, int, bool]]:
        """(DTS, PTS, is it a sync sample) of each, in ticks."""
        dts = self.dts
        for duration, _, flags, cts in _SAMPLE.iter_unpack(self.table):
            yield dts, dts + cts, flags == _SYNC
            dts += duration

    @property
    def end(self) -> int:
        """Where the last sample ends, in ticks."""
        length: int = sum(sample[0] for sample in _SAMPLE.iter_unpack(self.table))
        return self.dts + length

    def part(self, first: int, last: int) -> "Run":
        """Samples ``first`` up to, not including, ``last``."""
        head, own = self.table[: 16 * first], self.table[16 * first : 16 * last]
        skipped = list(_SAMPLE.iter_unpack(head))
        start = sum(sample[1] for sample in skipped)
        size = sum(sample[1] for sample in _SAMPLE.iter_unpack(own))
        dts = self.dts + sum(sample[0] for sample in skipped)
        return Run(self.track_id, dts, own, self.payload[start : start + size])


def box(kind: bytes, *parts: bytes) -> bytes:
    """One box (§4.2): size, type, content."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def fragment(
    sequence: int,
    packets: Sequence[Packet],
    scales: Mapping[TrackKind, TrackScale],
    *,
    base_ms: int,
    ends_ms: Mapping[TrackKind, int],
) -> bytes:
    """``moof`` and ``mdat`` holding ``packets``, whose DTS count from ``base_ms`` (what is earlier is at 0).

    Sample durations come from the next packet of the track; the last one's from ``ends_ms`` (DTS of what follows),
    or else is that of the one before.
    """
    tracks: dict[TrackKind, list[Packet]] = {}
    for packet in packets:
        tracks.setdefault(TrackKind.VIDEO if packet.is_video else TrackKind.AUDIO, []).append(packet)
    return write_runs(
        sequence,
        [
            _run(own, scales[kind], base_ms, ends_ms.get(kind), _FALLBACK_MS[kind])
            for kind in (TrackKind.VIDEO, TrackKind.AUDIO)
            if (own := tracks.get(kind))
        ],
    )


def _run(packets: Sequence[Packet], scale: TrackScale, base_ms: int, end_ms: int | None, fallback_ms: int) -> Run:
    rate = scale.timescale
    last = packets[-1].dts_ms
    if end_ms is None or end_ms <= last:
        end_ms = last + (last - packets[-2].dts_ms if len(packets) > 1 else fallback_ms)
    # Nearest ticks, each from its own milliseconds, so that rounding never adds up.
    ticks = [((packet.dts_ms - base_ms) * rate + 500) // 1000 for packet in packets]
    starts = [max(0, tick) for tick in ticks]
    starts.append(max(0, ((end_ms - base_ms) * rate + 500) // 1000))
    fields: list[int] = []
    for index, (_, _, pts_ms, is_keyframe, data) in enumerate(packets):
        shown = ((pts_ms - base_ms) * rate + 500) // 1000
        if ticks[index] < 0:
            shown = max(0, shown)
        start = starts[index]
        flags = _SYNC if is_keyframe else _NOT_SYNC
        fields += (starts[index + 1] - start, len(data), flags, shown - start & _32_BITS)
    table = struct.pack(f">{len(fields)}I", *fields)
    return Run(scale.track_id, starts[0], table, b"".join([packet.data for packet in packets]))


def write_runs(sequence: int, runs: Sequence[Run]) -> bytes:
    """``moof`` and ``mdat`` (§8.8.4, §8.1.1) of one run for each track, their payloads side by side."""
    mfhd = box(b"mfhd", struct.pack(">II", 0, sequence & _32_BITS))
    # moof = 8 + mfhd + trafs; traf = 8 + tfhd 16 + tfdt 20 + trun (8 + 12: flags, count, data offset; and the table)
    offset = 8 + len(mfhd) + sum(64 + len(run.table) for run in runs) + 8
    trafs = []
    for run in runs:
        tfhd = box(b"tfhd", struct.pack(">II", 0x020000, run.track_id))  # §8.8.7: default-base-is-moof
        tfdt = box(b"tfdt", struct.pack(">IQ", 0x01000000, run.dts))
        trun = box(b"trun", struct.pack(">IIi", _TRUN, len(run.table) // 16, offset), run.table)
        trafs.append(box(b"traf", tfhd, tfdt, trun))
        offset += len(run.payload)
    size = 8 + sum(len(run.payload) for run in runs)
    return b"".join((box(b"moof", mfhd, *trafs), struct.pack(">I4s", size, b"mdat"), *(run.payload for run in runs)))


# --- reading ---------------------------------------------------------------------------------------------------------


def boxes(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[bytes, int, int]]:
    """(type, content start, content end) of each box in a range. Raises ProtocolError where sizes lead astray."""
    end = len(data) if end is None else end
    found: list[tuple[bytes, int, int]] = []
    at = start
    while at < end:
        if end - at < 8:
            raise ProtocolError("MP4 box is cut short")
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and end - at >= 16:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        if size < head or size > end - at:  # size 0, "to the end of the file", is nothing we write
            raise ProtocolError(f"MP4 box {kind!r} of {size} bytes does not fit")
        found.append((kind, at + head, at + size))
        at += size
    return found


def _child(data: bytes, parent: tuple[bytes, int, int], *path: bytes) -> tuple[bytes, int, int]:
    for kind in path:
        matching = [item for item in boxes(data, parent[1], parent[2]) if item[0] == kind]
        if not matching:
            raise ProtocolError(f"MP4 box {parent[0]!r} without {kind!r}")
        parent = matching[0]
    return parent


def _unpack(layout: str, data: bytes, at: int, end: int) -> tuple[int, ...]:
    if struct.calcsize(layout) > end - at:
        raise ProtocolError("MP4 box is cut short")
    return struct.unpack_from(layout, data, at)


def read_init(data: bytes) -> dict[TrackKind, TrackScale]:
    """The tracks of an init segment. Raises ProtocolError."""
    tracks: dict[TrackKind, TrackScale] = {}
    for movie in (item for item in boxes(data) if item[0] == b"moov"):
        for trak in (item for item in boxes(data, movie[1], movie[2]) if item[0] == b"trak"):
            _, at, end = _child(data, trak, b"tkhd")
            wide = _unpack(">B", data, at, end)[0] == 1
            (track_id,) = _unpack(">I", data, at + (20 if wide else 12), end)
            _, at, end = _child(data, trak, b"mdia", b"mdhd")
            wide = _unpack(">B", data, at, end)[0] == 1
            (timescale,) = _unpack(">I", data, at + (20 if wide else 12), end)
            _, at, end = _child(data, trak, b"mdia", b"hdlr")
            handler = data[at + 8 : min(at + 12, end)]
            kind = {b"vide": TrackKind.VIDEO, b"soun": TrackKind.AUDIO}.get(handler)
            if not timescale:
                raise ProtocolError("MP4 track without a timescale")
            if kind is not None:
                tracks[kind] = TrackScale(track_id, timescale)
    if not tracks:
        raise ProtocolError("no tracks in the init segment")
    return tracks


def read_runs(data: bytes) -> list[Run]:
    """The runs of a media segment as ``fragment`` writes it, one for each track. Raises ProtocolError."""
    moofs = [found for found in boxes(data) if found[0] == b"moof"]
    if len(moofs) != 1:
        raise ProtocolError(f"{len(moofs)} movie fragments in the segment; one is what we write")
    return _read_moof(data, moofs[0])


def read_fragments(data: bytes) -> list[Sample]:
    """Every sample of media segments as ``fragment`` writes them, track by track. Raises ProtocolError."""
    moofs = [found for found in boxes(data) if found[0] == b"moof"]
    if data and not moofs:
        raise ProtocolError("no movie fragment in the segment")
    room = len(data)  # payloads lie side by side: together they cannot be more than there is
    samples: list[Sample] = []
    for moof in moofs:
        for run in _read_moof(data, moof):
            room -= len(run.payload)
            if room < 0:
                raise ProtocolError("movie fragments share their data")
            at = 0
            dts = run.dts
            for duration, size, flags, cts in _SAMPLE.iter_unpack(run.table):
                samples.append(Sample(run.track_id, dts, cts, flags == _SYNC, bytes(run.payload[at : at + size])))
                at += size
                dts += duration
    return samples


def _read_moof(data: bytes, moof: tuple[bytes, int, int]) -> list[Run]:
    runs = [_read_traf(data, moof, item) for item in boxes(data, moof[1], moof[2]) if item[0] == b"traf"]
    if sum(len(run.payload) for run in runs) > len(data):
        raise ProtocolError("movie fragments share their data")
    return runs


def _read_traf(data: bytes, moof: tuple[bytes, int, int], traf: tuple[bytes, int, int]) -> Run:
    _, at, end = _child(data, traf, b"tfhd")
    _, track_id = _unpack(">II", data, at, end)
    _, at, end = _child(data, traf, b"tfdt")
    _, dts = _unpack(">IQ", data, at, end)
    _, at, end = _child(data, traf, b"trun")
    flags, count, offset = _unpack(">IIi", data, at, end)
    if flags != _TRUN or end - at != 12 + 16 * count or offset < 0:
        raise ProtocolError("movie fragment written by somebody else")
    table = data[at + 12 : end]
    start = moof[1] - 8 + offset
    size = sum(sample[1] for sample in _SAMPLE.iter_unpack(table))
    if size > len(data) - start:
        raise ProtocolError("movie fragment whose data is cut short")
    return Run(track_id, dts, table, memoryview(data)[start : start + size])
