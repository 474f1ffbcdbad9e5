"""HLS segments: where a stream of packets is cut, and the cut pieces as MPEG-TS with exact times."""

import io
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import MediaError, ProtocolError
from relay.hub import Batch
from relay.hub.batch import Tracks
from relay.media import Codec, Packet, Track, TrackKind
from relay.protocol import flv

if TYPE_CHECKING:
    from av.container import InputContainer

LEAST_MS, MOST_MS = 1000, 4000  # what platforms want of a segment's length
AIM_MS = 1800  # cut at the first keyframe from here on: with one every 2 s, each of them
HOLE_MS = 2000  # a picture that comes this long after the last one begins a new timeline
OPEN_MS, OPEN_BYTES = 30_000, 48 * 1024 * 1024  # of a segment that finds no keyframe to end at
CODECS = frozenset({Codec.H264, Codec.HEVC, Codec.AAC})
_STEP_MS = {TrackKind.VIDEO: 33, TrackKind.AUDIO: 21}  # the length of a lone frame nobody can know

CLOCK = 90  # ticks in a ms, ISO/IEC 13818-1 §2.4.2.2
_TICK = Fraction(1, 1000 * CLOCK)
_START_MS = 10_000  # what is 0 ms in the stream: nothing before it falls below 0
_PACKET, _SDT_PID = 188, 0x11
# LIBRARIES: with these the muxer neither shifts nor rounds times, and segments follow each other without complaint.
_OPTIONS = {
    "mpegts_copyts": "1",
    "avoid_negative_ts": "disabled",
    "mpegts_flags": "initial_discontinuity",
    "max_interleave_delta": "0",  # a track that starves never makes the other go first
    "sdt_period": "100000",
}


class Piece(NamedTuple):
    """The packets of one segment, from a keyframe up to the next one chosen.

    ``tracks``: those announced in it, whether or not they have packets here. ``is_discontinuity``: other tracks than
    the piece before, or time is missing between them.
    """

    packets: tuple[Packet, ...]
    tracks: Tracks
    duration_ms: int
    is_discontinuity: bool


class Segmenter:
    """Cuts one stream into pieces, at keyframes only. What is left open survives the reader: ``join`` goes on with it.

    ``dropped`` counts packets that belong to no piece.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._packets: list[Packet] = []
        self._size = 0
        self._tracks: Tracks = (None, None)
        self._before: Tracks | None = None  # of the last piece
        self._waiting: list[Packet] = []  # sound of another track, for the piece that is to come
        self._last_ms: dict[TrackKind, int] = {}
        self._step_ms = dict(_STEP_MS)
        self._keyframe_ms: int | None = None  # DTS of the last keyframe
        self._intervals_ms = (0, 0)  # between the last keyframes
        self._is_broken = False  # the next piece begins a new timeline
        self._joining = ""

    @property
    def open_ms(self) -> int:
        """Media time in the piece that is still open."""
        return self._end_ms - self._start_ms if self._packets else 0

    def join(self, *, is_same: bool) -> None:
        """A new reader begins: of the same stream, or of one that may be the same, made another way.

        What of it was here before is not taken again; only media that neither has is missing.
        """
        self._joining = "same" if is_same else "other"

    def reset(self) -> Piece | None:
        """What comes next has nothing to do with what was here; what is open, as the last piece."""
        piece = self.flush()
        self._tracks = (None, None)
        self._last_ms.clear()
        self._joining = ""
        return piece

    def feed(self, batch: Batch) -> list[Piece]:
        """The pieces that ``batch`` completes. Raises MediaError where no keyframe comes for too long."""
        made: list[Piece] = []
        if self._joining == "other" and batch.packets[0] not in self._packets:
            rest = self.reset()
            made += [] if rest is None else [rest]
        for packet in batch.packets:
            kind = packet.track.kind
            last_ms = self._last_ms.get(kind)
            if last_ms is not None and packet.dts_ms <= last_ms:
                self._joining = ""  # it was here before the reader changed: nothing is missing
                continue
            if self._joining:
                self._joining = ""
                made.extend(self._broken())
            made.extend(self._picture(packet) if packet.is_video else self._sound(packet, batch.closing[0]))
            if last_ms is not None:
                self._step_ms[kind] = packet.dts_ms - last_ms
            self._last_ms[kind] = packet.dts_ms
        if self._size > OPEN_BYTES or self.open_ms > OPEN_MS:
            self.dropped += sum(len(piece.packets) for piece in self._broken())
            raise MediaError("no keyframe comes: set the encoder to one every 2 s, or give the destination a fit")
        return made

    def flush(self) -> Piece | None:
        """What is open, as the last piece of its timeline."""
        return next(iter(self._broken()), None)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _picture(self, packet: Packet) -> Iterator[Piece]:
        video = self._tracks[0]
        last_ms = self._last_ms.get(TrackKind.VIDEO)
        is_other = video is not None and packet.track != video
        if not packet.is_keyframe:
            if video is None or is_other or not self._packets:
                self.dropped += 1
            else:
                self._add(packet)
            return
        if self._keyframe_ms is not None:
            self._intervals_ms = (self._intervals_ms[1], packet.dts_ms - self._keyframe_ms)
        self._keyframe_ms = packet.dts_ms
        if video is None and self._packets and packet.dts_ms - self._start_ms < LEAST_MS:
            self._waiting, self._packets = self._packets, []  # sound was but a little quicker
        elif last_ms is not None and packet.dts_ms - last_ms > HOLE_MS:
            yield from self._broken()
        elif self._packets and (is_other or video is None or self._is_due(packet)):
            yield self._close(packet.dts_ms)
        if not self._packets:
            self._open(packet)
        else:
            self._add(packet)

    def _is_due(self, packet: Packet) -> bool:
        length_ms = packet.dts_ms - self._start_ms
        if self._waiting or length_ms >= AIM_MS:
            return True
        return length_ms >= LEAST_MS and length_ms + max(self._intervals_ms) > MOST_MS

    def _sound(self, packet: Packet, announced: Track | None) -> Iterator[Piece]:
        video, audio = self._tracks
        is_other = audio is not None and packet.track != audio
        if video is None and announced is None:  # sound alone
            last_ms = self._last_ms.get(TrackKind.AUDIO)
            if last_ms is not None and packet.dts_ms - last_ms > HOLE_MS:
                yield from self._broken()
            elif self._packets and (is_other or packet.dts_ms - self._start_ms >= AIM_MS):
                yield self._close(packet.dts_ms)
            if not self._packets:
                self._open(packet)
            else:
                self._add(packet)
        elif not self._packets:
            self.dropped += 1  # a picture comes first
        elif is_other or self._waiting:
            self._waiting.append(packet)
            self._size += len(packet.data)
        else:
            self._tracks = (video, packet.track)
            self._add(packet)

    def _open(self, packet: Packet) -> None:
        waiting, self._waiting = self._waiting, []
        if packet.is_video:
            audio = waiting[-1].track if waiting else self._tracks[1]
            self._tracks = (packet.track, audio)
            kept = [item for item in waiting if item.track == audio]
            self.dropped += len(waiting) - len(kept)
        else:
            self._tracks = (None, packet.track)
            kept = []
        self._packets = [packet, *kept]
        self._size = sum(len(item.data) for item in self._packets)

    def _add(self, packet: Packet) -> None:
        self._packets.append(packet)
        self._size += len(packet.data)

    @property
    def _start_ms(self) -> int:
        return self._packets[0].dts_ms

    @property
    def _end_ms(self) -> int:
        kind = self._packets[0].track.kind
        return self._last_ms.get(kind, self._start_ms) + self._step_ms[kind]

    def _close(self, end_ms: int) -> Piece:
        is_discontinuity = self._is_broken or self._before not in (None, self._tracks)
        piece = Piece(tuple(self._packets), self._tracks, max(1, end_ms - self._start_ms), is_discontinuity)
        self._before, self._is_broken = self._tracks, False
        self._packets = []
        self._size = 0
        return piece

    def _broken(self) -> list[Piece]:
        """The timeline ends here: what is open, if anything is."""
        if not self._packets:
            self._is_broken = self._is_broken or self._before is not None
            return []
        piece = self._close(self._end_ms)
        self.dropped += len(self._waiting)
        self._waiting = []
        self._is_broken = True
        self._keyframe_ms = None
        return [piece]


class TsMuxer:
    """Makes MPEG-TS of pieces, one after the other."""

    def __init__(self) -> None:
        self._tracks: Tracks = (None, None)
        self._template: InputContainer | None = None
        self._frames: dict[TrackKind, Packet] = {}  # one of each kind, which the library learns a track from
        self._lock = threading.Lock()  # whoever muxes in a thread may be given up, and close come before its end
        self._is_closed = False

    def close(self) -> None:
        """Give back what the library holds, some megabytes of it; forgotten, it would stay for the collector."""
        with self._lock:
            self._is_closed = True
            if self._template is not None:
                self._template.close()
                self._template = None

    def mux(self, piece: Piece) -> bytes:
        """``piece`` as a segment that begins with its PAT and PMT. Blocks for a few milliseconds.

        Raises MediaError, also for a codec that platforms do not take in TS.
        """
        import av  # 25 MiB, which a relay that waits for its first stream can do without

        check_codecs(piece.tracks)
        for packet in reversed(piece.packets):
            if packet.is_keyframe and packet.track in piece.tracks:
                self._frames[packet.track.kind] = packet
        names = " and ".join(track.codec for track in piece.tracks if track is not None)
        try:
            with self._lock:
                if self._is_closed:
                    raise MediaError("nothing is packaged any more")
                return self._mux(piece)
        except (av.FFmpegError, ProtocolError, ValueError) as error:
            words = getattr(error, "strerror", None) or error
            raise MediaError(f"{names} cannot be packaged as MPEG-TS: {words}") from error

    def _mux(self, piece: Piece) -> bytes:
        import av

        if self._template is None or self._tracks != piece.tracks:
            if self._template is not None:
                self._template.close()
            self._template, self._tracks = self._learnt(piece.tracks), piece.tracks
        out = io.BytesIO()
        with av.open(out, "w", format="mpegts", options=_OPTIONS) as muxer:
            copies = {
                str(stream.type): muxer.add_stream_from_template(stream, opaque=True)
                for stream in self._template.streams
            }
            for packet in piece.packets:
                copy = av.Packet(packet.data)
                copy.stream = copies[packet.track.kind]
                copy.time_base = _TICK
                copy.dts = (packet.dts_ms + _START_MS) * CLOCK
                copy.pts = (max(packet.pts_ms, packet.dts_ms) + _START_MS) * CLOCK
                copy.is_keyframe = packet.is_keyframe
                muxer.mux(copy)
        data = out.getvalue()
        # The muxer puts a service's name before everything else; what platforms look for first is PAT and PMT.
        has_name = (data[1] & 0x1F) << 8 | data[2] == _SDT_PID
        return data[_PACKET:] if has_name else data

    def _learnt(self, tracks: Tracks) -> "InputContainer":
        """Both tracks as FFmpeg knows them, from a tiny FLV file: there is no other way to hand over a header."""
        import av

        video, audio = tracks
        frames = [
            self._frames[track.kind]._replace(track=track, dts_ms=0, pts_ms=0)
            for track in tracks
            if track is not None and track.kind in self._frames
        ]
        source = b"".join(
            (
                flv.file_header(has_video=video is not None, has_audio=audio is not None),
                flv.tag(flv.SCRIPT, 0, flv.metadata(tracks, {})),
                *(
                    flv.tag(flv.VIDEO if track is video else flv.AUDIO, 0, flv.sequence_header(track) or b"")
                    for track in tracks
                    if track is not None
                ),
                flv.encode_batch(frames, tracks),
            )
        )
        return av.open(io.BytesIO(source), "r", format="flv")


def check_codecs(tracks: Tracks) -> None:
    """Raises MediaError for a track that cannot be sent in MPEG-TS, in words that say what to do."""
    for track in tracks:
        if track is not None and track.codec not in CODECS:
            raise MediaError(
                f"HLS destinations take H.264 or HEVC with AAC, not {track.codec}: "
                "change the encoder, or give the destination a fit"
            )
