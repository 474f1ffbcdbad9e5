"""Past: makes segments that have left memory again, byte for byte, from what the archive keeps."""

import asyncio
from collections import OrderedDict

from relay.archive.library import Library, Place
from relay.archive.playlist import file_name
from relay.database import RecordingRow, SegmentRow
from relay.errors import NotFoundError
from relay.media import Packet, TrackKind
from relay.protocol import mp4
from relay.protocol.mp4 import TrackScale
from relay.web.hls.cut import Rendition, Segment, fragment

REMEMBERED = 6  # the archive's segments read last: viewers go through them one by one
AROUND_MS = 1000  # how far from its segment's span a track may reach
WAIT_S, TRIES = 1.0, 6  # for a segment the archive is about to package

Media = dict[TrackKind, list[tuple[int, int, bool, bytes]]]
"""(DTS in ms, PTS in ms, is it a keyframe, data) of each packet of a track."""


class Past:
    """Reads the archive for all live channels; ``library`` None: there is none."""

    def __init__(self, library: Library | None) -> None:
        self._library = library
        self._scales: OrderedDict[str, dict[TrackKind, TrackScale]] = OrderedDict()  # by key of the init segment
        self._media: OrderedDict[str, asyncio.Future[Media]] = OrderedDict()  # by key of the segment
        self._reading: dict[str, asyncio.Future[list[Packet]]] = {}  # by recording: of what is not packaged yet

    async def data(self, channel: str, segment: Segment, rendition: Rendition, part: int | None = None) -> bytes:
        """A segment, or one part of it, as it was when it was live.

        Raises NotFoundError where the archive does not have all of it, StoreError where it cannot be read.
        """
        packets = await self._packets(channel, segment)
        init = await segment.epoch.init(rendition)
        taken = dict.fromkeys(TrackKind, 0)
        made: list[bytes] = []
        for number, cut in enumerate(segment.cuts):
            own: list[Packet] = []
            for kind, count in ((TrackKind.VIDEO, cut.video), (TrackKind.AUDIO, cut.audio)):
                if rendition is Rendition.MAIN or kind is TrackKind.AUDIO:
                    own += packets[kind][taken[kind] : taken[kind] + count]
                taken[kind] += count
            if own and part in (None, number):
                made.append(fragment(segment.number, number, own, cut, init, segment.epoch.base_ms))
        return b"".join(made)

    async def _packets(self, channel: str, segment: Segment) -> dict[TrackKind, list[Packet]]:
        """Its packets, track by track."""
        place = segment.epoch.place
        if self._library is None or place is None:
            raise NotFoundError("that is no longer kept")
        wanted = {
            TrackKind.VIDEO: sum(cut.video for cut in segment.cuts),
            TrackKind.AUDIO: sum(cut.audio for cut in segment.cuts),
        }
        row = RecordingRow(id=place.recording, channel=channel, state="", started_at=place.started_at)
        from_ms = min(segment.first_ms.values(), default=segment.start_ms) - place.base_ms - AROUND_MS
        to_ms = segment.end_ms - place.base_ms + AROUND_MS
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(WAIT_S)
            found: dict[TrackKind, list[Packet]] = {TrackKind.VIDEO: [], TrackKind.AUDIO: []}
            for kept in await self._library.segments_between(place.recording, from_ms, to_ms):
                if kept.init_key:
                    self._collect(segment, await self._read(row, kept, place), found, wanted)
            if any(len(found[kind]) < count for kind, count in wanted.items()):
                self._collect(segment, await self._fresh(row), found, wanted)
            if all(len(found[kind]) == count for kind, count in wanted.items()):
                if sum(len(packet.data) for packets in found.values() for packet in packets) == segment.size:
                    return found
                break
        raise NotFoundError("the archive does not have that part of the stream")

    @staticmethod
    def _collect(
        segment: Segment, media: Media, found: dict[TrackKind, list[Packet]], wanted: dict[TrackKind, int]
    ) -> None:
        """Add what ``media`` has of ``segment``."""
        for kind, track in zip((TrackKind.VIDEO, TrackKind.AUDIO), segment.epoch.tracks, strict=True):
            own = found[kind]
            first_ms = segment.first_ms.get(kind)
            if track is None or first_ms is None:
                continue
            for dts_ms, pts_ms, is_keyframe, data in media.get(kind, ()):
                if len(own) == wanted[kind]:
                    break
                if dts_ms >= first_ms and (not own or dts_ms > own[-1].dts_ms):
                    own.append(Packet(track, dts_ms, pts_ms, is_keyframe, data))

    async def _read(self, row: RecordingRow, kept: SegmentRow, place: Place) -> Media:
        """The packets of one of the archive's segments, read once however many ask."""
        reading = self._media.get(kept.object_key)
        if reading is None or (reading.done() and (reading.cancelled() or reading.exception() is not None)):
            reading = self._media[kept.object_key] = asyncio.ensure_future(self._load(row, kept, place))
            while len(self._media) > REMEMBERED:
                self._media.popitem(last=False)
        self._media.move_to_end(kept.object_key)
        return await asyncio.shield(reading)

    async def _fresh(self, row: RecordingRow) -> Media:
        """The packets that are not packaged yet, read once for all who ask meanwhile."""
        reading = self._reading.get(row.id)
        if reading is None:
            assert self._library is not None
            reading = self._reading[row.id] = asyncio.ensure_future(self._library.unpackaged(row))
            reading.add_done_callback(lambda _: self._reading.pop(row.id, None))
        found: Media = {}
        for packet in await asyncio.shield(reading):
            sample = (packet.dts_ms, packet.pts_ms, packet.is_keyframe, packet.data)
            found.setdefault(packet.track.kind, []).append(sample)
        return found

    async def _load(self, row: RecordingRow, kept: SegmentRow, place: Place) -> Media:
        assert self._library is not None
        scales = self._scales.get(kept.init_key)
        if scales is None:
            scales = mp4.read_init(await self._library.load(row, file_name(kept.init_key)))
            self._scales[kept.init_key] = scales
            if len(self._scales) > 10 * REMEMBERED:
                self._scales.popitem(last=False)
        known = scales
        return await self._library.segment(row, kept, lambda data: _media(data, known, place.base_ms))


def _media(data: bytes, scales: dict[TrackKind, TrackScale], base_ms: int) -> Media:
    """What one of the archive's segments holds, in the stream's own ms."""
    kinds = {scale.track_id: (kind, scale.timescale) for kind, scale in scales.items()}
    found: Media = {}
    for sample in mp4.read_fragments(data):
        kind, rate = kinds[sample.track_id]
        dts_ms = (sample.dts * 2000 + rate) // (2 * rate) + base_ms  # nearest: ticks are finer than ms
        pts_ms = ((sample.dts + sample.cts_offset) * 2000 + rate) // (2 * rate) + base_ms
        found.setdefault(kind, []).append((dts_ms, pts_ms, sample.is_sync, sample.payload))
    return found
