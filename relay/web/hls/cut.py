"""What live playback consists of: epochs, segments and parts, whose bytes are made when somebody first asks."""

import asyncio
from array import array
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from relay.archive.library import Place
from relay.archive.packager import InitSegment, init_segment, media_segment
from relay.errors import MediaError
from relay.hub.batch import Tracks
from relay.media import Packet, Track, TrackKind

SAMPLE_AUDIO = 12  # frames of sound an init segment may have to be made from (packager)
_PARTS_A_SEGMENT = 64  # fragments are numbered by segment and part; there are never so many


class Rendition(StrEnum):
    """What a playlist offers: everything, or the sound alone for bad links. The value marks file names."""

    MAIN = ""
    AUDIO = "a"


class Epoch:
    """An unbroken timeline with one set of tracks: one init segment for each rendition.

    ``number`` is its discontinuity sequence; media time counts from ``base_ms``, which passed at ``wall_s`` (unix
    seconds). ``place`` is where the archive keeps it.
    """

    __slots__ = (
        "_audio",
        "_inits",
        "_keyframe",
        "_making",
        "base_ms",
        "is_sampled",
        "number",
        "place",
        "tracks",
        "wall_s",
    )

    def __init__(self, number: int, tracks: Tracks, base_ms: int, wall_s: float, place: Place | None) -> None:
        self.number = number
        self.tracks = tracks
        self.base_ms = base_ms
        self.wall_s = wall_s
        self.place = place
        self.is_sampled = False  # whether all that an init segment is made from is here
        self._keyframe: Packet | None = None
        self._audio: list[Packet] = []
        self._inits: dict[Rendition, InitSegment | MediaError] = {}
        self._making: dict[Rendition, asyncio.Future[InitSegment]] = {}

    @property
    def has_video(self) -> bool:
        return self.tracks[0] is not None

    def has(self, rendition: Rendition) -> bool:
        """Whether there is anything of ``rendition`` in it."""
        return rendition is Rendition.MAIN or self.tracks[1] is not None

    @property
    def is_settled(self) -> bool:
        """Whether an init segment was given away, so that no track can join."""
        return bool(self._inits or self._making)

    def sample(self, packet: Packet) -> None:
        """Keep ``packet`` if the init segment is made from it."""
        if packet.is_video:
            if self._keyframe is None or (packet.is_keyframe and not self._keyframe.is_keyframe):
                self._keyframe = packet
        elif len(self._audio) < SAMPLE_AUDIO:
            self._audio.append(packet)
        keyframe = self._keyframe
        self.is_sampled = len(self._audio) >= SAMPLE_AUDIO and keyframe is not None and keyframe.is_keyframe

    def made(self, rendition: Rendition) -> InitSegment | None:
        """The init segment, where it has been made already."""
        found = self._inits.get(rendition)
        return found if isinstance(found, InitSegment) else None

    async def init(self, rendition: Rendition) -> InitSegment:
        """The init segment, made once, in a thread. Raises MediaError where MP4 cannot hold a track."""
        found = self._inits.get(rendition)
        if found is None:
            making = self._making.get(rendition)
            if making is None:
                making = asyncio.ensure_future(self._make(rendition))
                self._making[rendition] = making
            return await asyncio.shield(making)
        if isinstance(found, MediaError):
            raise found
        return found

    async def _make(self, rendition: Rendition) -> InitSegment:
        packets = list(self._audio)
        if rendition is Rendition.MAIN and self._keyframe is not None:
            packets.insert(0, self._keyframe)
        try:
            made = await asyncio.to_thread(init_segment, packets)
        except MediaError as error:
            self._inits[rendition] = error
            raise
        self._inits[rendition] = made
        return made


class Cut(NamedTuple):
    """Which packets a part has, as counts, and where its clock's track ends: enough to make it again."""

    video: int
    audio: int
    end_ms: int


class Part:
    """Some hundred milliseconds of media: ``packets`` until they are made bytes, then those of the sound alone."""

    __slots__ = (
        "_bytes",
        "_packets",
        "audio_size",
        "cut",
        "duration_ms",
        "is_independent",
        "number",
        "size",
        "start_ms",
    )

    def __init__(self, number: int, packets: list[Packet], start_ms: int, end_ms: int) -> None:
        self.number = number
        self.start_ms = start_ms
        self.duration_ms = end_ms - start_ms
        size = audio_size = video = 0
        has_key = False
        for track, _, _, is_keyframe, data in packets:
            if track.codec.is_video:
                size += len(data)
                video += 1
                has_key = has_key or is_keyframe
            else:
                audio_size += len(data)
        self.cut = Cut(video, len(packets) - video, end_ms)
        self.is_independent = has_key or not video
        self.size = size + audio_size
        self.audio_size = audio_size
        self._packets = packets
        self._bytes: dict[Rendition, bytes] = {}

    def has(self, rendition: Rendition) -> bool:
        return rendition is Rendition.MAIN or self.cut.audio > 0

    @property
    def packets(self) -> list[Packet]:
        """All its packets, where nobody has asked for its bytes yet; else none."""
        return [] if self._bytes else self._packets

    def data(self, rendition: Rendition, segment: int, epoch: Epoch) -> bytes:
        """Its CMAF fragment; the epoch's init segment must have been made. Empty where it has nothing to offer."""
        made = self._bytes.get(rendition)
        if made is None:
            init = epoch.made(rendition)
            assert init is not None
            packets = self._packets
            if rendition is Rendition.AUDIO:
                packets = [packet for packet in packets if not packet.is_video]
            made = fragment(segment, self.number, packets, self.cut, init, epoch.base_ms) if packets else b""
            self._bytes[rendition] = made
            if rendition is Rendition.MAIN:
                self._packets = [packet for packet in packets if not packet.is_video]
        return made


def fragment(segment: int, part: int, packets: Sequence[Packet], cut: Cut, init: InitSegment, base_ms: int) -> bytes:
    """The bytes of a part: the same for the same packets, whenever it is made."""
    kind = TrackKind.VIDEO if packets and any(packet.is_video for packet in packets) else TrackKind.AUDIO
    is_clock = (kind is TrackKind.VIDEO) == (cut.video > 0)
    ends = {kind: cut.end_ms} if is_clock else {}
    number = segment * _PARTS_A_SEGMENT + part
    return media_segment(number, packets, init, base_ms=base_ms, ends_ms=ends)


class Segment:
    """Parts from one keyframe to a later one. ``parts`` is empty once it has left memory; ``cuts`` stay.

    ``breaks``: a discontinuity lies before it. ``first_ms``: DTS of its first video and first audio packet.
    ``lines``: what a playlist says of it, by rendition, once it is closed. ``is_cut_up``: whether its parts are what
    players expect of parts; where nobody watched, it is a single one.
    """

    __slots__ = (
        "_packed",
        "audio_size",
        "breaks",
        "duration_ms",
        "epoch",
        "first_ms",
        "is_cut_up",
        "is_kept",
        "lines",
        "number",
        "parts",
        "size",
        "start_ms",
    )

    def __init__(self, number: int, epoch: Epoch, start_ms: int, *, breaks: bool = False) -> None:
        self.number = number
        self.breaks = breaks
        self.epoch = epoch
        self.start_ms = start_ms
        self.duration_ms = 0
        self.size = 0
        self.audio_size = 0
        self.parts: list[Part] = []
        self._packed = array("q")  # of cuts; thousands of segments are remembered
        self.first_ms: dict[TrackKind, int] = {}
        self.is_kept = True
        self.is_cut_up = True
        self.lines: dict[Rendition, str] = {}

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.duration_ms

    def add(self, packets: list[Packet], start_ms: int, end_ms: int) -> Part:
        """One more part, from ``start_ms`` to ``end_ms``."""
        for packet in packets:
            kind = TrackKind.VIDEO if packet.is_video else TrackKind.AUDIO
            if kind not in self.first_ms:
                self.first_ms[kind] = packet.dts_ms
            if len(self.first_ms) == 2:
                break
        part = Part(len(self.parts), packets, start_ms, end_ms)
        self.parts.append(part)
        self.duration_ms = end_ms - self.start_ms
        self.size += part.size
        self.audio_size += part.audio_size
        return part

    def cut_up(self, least_ms: float) -> None:
        """Cut its one part, if nobody has loaded it yet, into parts of no less than ``least_ms``."""
        packets = self.parts[0].packets if len(self.parts) == 1 else []
        if not packets:
            return
        end_ms = self.end_ms
        self.parts, self.size, self.audio_size = [], 0, 0
        self.add(*self.add_all(packets, self.start_ms, least_ms), end_ms)
        self.is_cut_up = True

    def add_all(self, packets: Sequence[Packet], start_ms: int, least_ms: float) -> tuple[list[Packet], int]:
        """``packets`` as parts of no less than ``least_ms``; the rest, which none was made of, and where it begins."""
        clock = TrackKind.VIDEO if self.epoch.has_video else TrackKind.AUDIO
        pending: list[Packet] = []
        for packet in packets:
            if packet.track.kind is clock and pending and packet.dts_ms - start_ms >= least_ms:
                self.add(pending, start_ms, packet.dts_ms)
                pending, start_ms = [], packet.dts_ms
            pending.append(packet)
        return pending, start_ms

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """How it is cut into parts."""
        if self.is_kept:
            return tuple([part.cut for part in self.parts])
        numbers = iter(self._packed)
        return tuple([Cut(*numbers_of_one) for numbers_of_one in zip(numbers, numbers, numbers, strict=True)])

    def has(self, rendition: Rendition) -> bool:
        """Whether it has media for ``rendition``; else it is a gap there."""
        return rendition is Rendition.MAIN or any(cut.audio for cut in self.cuts)

    def forget(self) -> None:
        """Leave memory: what it was cut from is in the archive."""
        self._packed = array("q", [number for part in self.parts for number in part.cut])
        self.is_kept = False
        self.parts = []

    def data(self, rendition: Rendition) -> bytes:
        """All its parts in one; the epoch's init segment must have been made, and it must be kept."""
        return b"".join([part.data(rendition, self.number, self.epoch) for part in self.parts])


def codecs(tracks: Sequence[Track | None]) -> str:
    """The CODECS attribute (RFC 6381) of ``tracks``."""
    return ",".join(track.codec_string or track.codec.value for track in tracks if track is not None)
