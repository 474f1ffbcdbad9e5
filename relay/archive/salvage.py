"""Salvage: a segment's row from its own bytes, for a catalog whose manifest does not tell of it. Blocking."""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from relay.archive.playlist import Listed
from relay.archive.recording import THUMBNAIL
from relay.archive.store import Store
from relay.database import SegmentRow
from relay.errors import ProtocolError
from relay.media import TrackKind
from relay.protocol.mp4 import TrackScale, read_fragments, read_init

_SEGMENT = re.compile(r"(\d{6,9})\.m4s")
_RAW = re.compile(r"(\d{6,9})\.raw\.flv")
_INIT = re.compile(r"init-(\d{1,9})\.mp4")
_LATEST_MS = 1 << 53
_FRAME_MS = 40  # of a lone frame, whose length nothing tells


def is_segment(name: str) -> bool:
    """Whether ``name`` is that of a media segment a row can be made for."""
    return _SEGMENT.fullmatch(name) is not None


@dataclass(slots=True)
class Salvage:
    """Rows for what lies under ``prefix`` in the store, as ``names``. ``notes`` gets what had to be left out.

    ``listed``: what the playlist says, by name. ``started_at``: unix seconds of media time 0; None: found out.
    """

    store: Store
    prefix: str
    names: Collection[str]
    listed: Mapping[str, Listed]
    started_at: float | None
    notes: list[str]

    def rows(self, known: Collection[int]) -> list[SegmentRow]:
        """In order, without the numbers ``known``. Raises StoreError."""
        numbers = [(int(match[1]), name) for name in self.names if (match := _INIT.fullmatch(name))]
        newest = max(numbers, default=(0, ""))[1]
        tracks: dict[str, dict[int, tuple[TrackKind, int]]] = {}
        made = []
        for name in sorted(self.names):
            match = _SEGMENT.fullmatch(name)
            raw = _RAW.fullmatch(name)
            if raw is not None and int(raw[1]) not in known:
                self.notes.append(f"{name} is left out: only a manifest could tell its time")
            if match is None or int(match[1]) in known:
                continue
            item = self.listed.get(name)
            init = newest if item is None else item.init
            try:
                if init not in tracks:
                    tracks[init] = self._tracks(init)
                made.append(self._row(int(match[1]), name, init, tracks[init], item))
            except (ProtocolError, ValueError) as error:
                self.notes.append(f"{name} is left out: {error}")
        return made

    def _tracks(self, init: str) -> dict[int, tuple[TrackKind, int]]:
        """(kind, timescale) by track number. Raises ValueError, ProtocolError."""
        if init not in self.names:
            raise ValueError(f"its init segment {init} is missing" if init else "there is no init segment")
        scales: dict[TrackKind, TrackScale] = read_init(self.store.get(f"{self.prefix}/{init}"))
        return {scale.track_id: (kind, scale.timescale) for kind, scale in scales.items()}

    def _row(
        self, seq: int, name: str, init: str, tracks: Mapping[int, tuple[TrackKind, int]], item: Listed | None
    ) -> SegmentRow:
        data = self.store.get(f"{self.prefix}/{name}")
        start_ms, length_ms, keyframe = _span(data, tracks)
        dated = None if item is None else item.started_at
        if self.started_at is None:
            self.started_at = _named_time(self.prefix) if dated is None else dated - start_ms / 1000
        return SegmentRow(
            seq=seq,
            object_key=f"{self.prefix}/{name}",
            init_key=f"{self.prefix}/{init}",
            started_at=self.started_at + start_ms / 1000 if dated is None else dated,
            start_ms=start_ms,
            duration_s=length_ms / 1000 if item is None else item.duration_s,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            stored=True,
            starts_with_keyframe=keyframe,
            discontinuity=item is not None and item.discontinuity,
            thumbnail=THUMBNAIL.format(seq) in self.names,
        )


def _span(data: bytes, tracks: Mapping[int, tuple[TrackKind, int]]) -> tuple[int, int, bool]:
    """(start in ms of media time, length in ms, whether it begins with a keyframe): the picture's, or else the sound's.

    Raises ValueError, ProtocolError.
    """
    times: dict[TrackKind, list[int]] = {}
    keyframes: dict[TrackKind, bool] = {}
    for track_id, dts, _, is_sync, _ in read_fragments(data):
        if track_id not in tracks:
            raise ValueError("it does not go with its init segment")
        kind, timescale = tracks[track_id]
        times.setdefault(kind, []).append(round(dts * 1000 / timescale))
        keyframes.setdefault(kind, is_sync)
    kind = TrackKind.VIDEO if TrackKind.VIDEO in times else TrackKind.AUDIO
    own = times.get(kind)
    if not own:
        raise ValueError("there is no media in it")
    if own[-1] > _LATEST_MS:
        raise ValueError("its times are out of all reason")
    step_ms = (own[-1] - own[0]) / (len(own) - 1) if len(own) > 1 else _FRAME_MS
    return own[0], max(0, round(own[-1] + step_ms) - own[0]), keyframes[kind]


def _named_time(prefix: str) -> float:
    """The start a recording's name tells; the beginning of time where it tells none."""
    try:
        return datetime.strptime(prefix.rpartition("/")[2][:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
