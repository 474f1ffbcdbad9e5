"""Batch: the packets of one publisher tick, and the encodings all readers of it share."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from relay.media import Packet, Track

Tracks = tuple[Track | None, Track | None]
"""The (video, audio) tracks in force at a point of the stream; None where there is none yet."""


def follow(tracks: Tracks, packets: Sequence[Packet]) -> Tracks:
    """The tracks in force after ``packets``, starting from ``tracks``."""
    video, audio = tracks
    for packet in packets:
        if packet.is_video:
            video = packet.track
        else:
            audio = packet.track
    return video, audio


class Note(NamedTuple):
    """What a publisher wanted kept beside some packets, and how many of them are on disk."""

    text: str
    packets: int


class Batch:
    """An unbroken run of packets of one stream, in the order written. Never changed after it is made.

    ``opening`` and ``closing`` are the tracks in force before the first and after the last packet: a reader
    whose last seen tracks are not ``opening`` (by identity) must send sequence headers first. ``seq`` counts
    the packets of the stream up to and including this batch. ``start`` is the index of the first packet a
    decoder could start at, or -1. ``note``: what the publisher wants kept beside the packets (Lease.keep);
    ``missing``: how many pieces, of its own count, did not come before them. ``videos`` counts the packets of video;
    ``last_video``, ``last_audio`` and ``last_keyframe`` (of video) are indexes, or -1.
    """

    __slots__ = (
        "_shared",
        "closing",
        "last_audio",
        "last_keyframe",
        "last_video",
        "missing",
        "note",
        "opening",
        "packets",
        "seq",
        "size",
        "start",
        "videos",
    )

    def __init__(
        self,
        packets: Sequence[Packet],
        opening: Tracks,
        seq: int,
        *,
        closing: Tracks | None = None,
        note: str = "",
        missing: int = 0,
    ) -> None:
        self.packets = packets
        self.opening = opening
        self.seq = seq
        self.note = note
        self.missing = missing
        video, audio = opening
        size = videos = 0
        start = last_video = last_audio = last_keyframe = -1
        # The one look at each packet on its way: what everybody behind wants to know is noted here.
        for index, packet in enumerate(packets):
            track, _, _, is_keyframe, data = packet
            size += len(data)
            if track is not audio and (track is video or packet.is_video):
                video = track
                videos += 1
                last_video = index
                if is_keyframe:
                    last_keyframe = index
                    if start < 0:
                        start = index
            else:
                audio = track
                last_audio = index
        self.closing = (video, audio) if closing is None else closing
        if start < 0 and self.closing[0] is None:
            start = 0  # sound alone can be decoded from anywhere
        self.size = size
        self.start = start
        self.videos = videos
        self.last_video = last_video
        self.last_audio = last_audio
        self.last_keyframe = last_keyframe
        self._shared: dict[object, bytes] = {}

    def shared(self, key: object, encode: Callable[["Batch"], bytes]) -> bytes:
        """``encode(self)``, made once per ``key`` however many readers ask."""
        encoded = self._shared.get(key)
        if encoded is None:
            encoded = self._shared[key] = encode(self)
        return encoded

    def from_start(self) -> "Batch":
        """This batch without the packets before its decodable start (``start`` must not be -1).

        Its opening tracks are those the start decodes with, so that a reader sends every known header first.
        """
        index = self.start
        if index == 0 and self.opening == self.closing:
            return self
        video, audio = follow(self.opening, self.packets[:index])
        first = self.packets[index]
        if first.is_video:
            video = first.track
        else:
            audio = first.track
        if audio is None:
            audio = self.closing[1]
        return Batch(
            self.packets[index:],
            (video, audio),
            self.seq,
            closing=self.closing,
            note=self.note,
            missing=self.missing,
        )

    @property
    def first_dts_ms(self) -> int:
        return self.packets[0].dts_ms

    @property
    def last_dts_ms(self) -> int:
        return self.packets[-1].dts_ms
