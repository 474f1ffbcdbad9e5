"""Live playlists (RFC 8216 and draft-pantos-hls-rfc8216bis), written once for each version and kind of question."""

import itertools
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from relay.web.hls.cut import Epoch, Part, Rendition, Segment, codecs
from relay.web.hls.muxer import Muxer

NAMES = {Rendition.MAIN: "main.m3u8", Rendition.AUDIO: "audio.m3u8"}
QUERY = "\x00"  # stands where each viewer's own query goes, in every address
VERSION = 9  # §7: EXT-X-SKIP
PARTS_TARGETS = 3  # §4.4.4.9: parts of what is older than three target durations are left out
SKIP_TARGETS = 6  # §4.4.3.8: what is older than this may be skipped
HOLD_BACKS = 3.0  # target durations (or of parts) that viewers stay behind the end
DATED_EVERY = 8  # segments: each could have its date, and the playlist would be twice as long
_SAME = {Rendition.MAIN: Rendition.AUDIO, Rendition.AUDIO: Rendition.MAIN}


def multivariant(muxer: Muxer) -> str:
    """What there is to choose from: everything, and the sound alone where there is a picture beside it."""
    segments = [segment for segment in muxer.segments if segment.number >= muxer.first_listed]
    epoch = segments[-1].epoch if muxer.open is None else muxer.open.epoch
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}"]
    video, audio = epoch.tracks
    peak, average = _rates([(segment.size, segment.duration_ms) for segment in segments])
    attributes = [f"BANDWIDTH={peak}", f"AVERAGE-BANDWIDTH={average}", f'CODECS="{codecs(epoch.tracks)}"']
    if video is not None:
        if video.width and video.height:
            attributes.append(f"RESOLUTION={video.width}x{video.height}")
        frames = sum(cut.video for segment in segments[-8:] for cut in segment.cuts)
        length_ms = sum(segment.duration_ms for segment in segments[-8:])
        if frames and length_ms:
            attributes.append(f"FRAME-RATE={frames * 1000 / length_ms:.3f}")
    lines += [f"#EXT-X-STREAM-INF:{','.join(attributes)}", NAMES[Rendition.MAIN] + QUERY]
    if video is not None and audio is not None:
        sizes = [(segment.audio_size, segment.duration_ms) for segment in segments]
        peak, average = _rates(sizes)
        attributes = [f"BANDWIDTH={peak}", f"AVERAGE-BANDWIDTH={average}", f'CODECS="{codecs((None, audio))}"']
        lines += [f"#EXT-X-STREAM-INF:{','.join(attributes)}", NAMES[Rendition.AUDIO] + QUERY]
    return "\n".join(lines) + "\n"


def _rates(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(peak, average) in bit/s of segments of (bytes, ms), with a little for their boxes (§4.4.6.2)."""
    peak = max((size * 8000 / length_ms for size, length_ms in sizes if length_ms), default=0.0)
    average = sum(size for size, _ in sizes) * 8000 / max(1, sum(length_ms for _, length_ms in sizes))
    return math.ceil(peak * 1.05) + 2000, math.ceil(average * 1.02) + 1000


def media(muxer: Muxer, rendition: Rendition, *, skip: bool = False) -> str:
    """The media playlist of ``rendition`` as it is now; ``skip``: without what whoever asks again has already.

    The stream's first segment must be whole (``target_s``).
    """
    target_s, part_s = muxer.target_s, muxer.part_target_ms / 1000
    count = len(muxer.segments)
    first = count - (muxer.last_closed - muxer.first_listed + 1)
    listed = list(itertools.islice(muxer.segments, max(0, first), count))
    skipped = _older(muxer, listed, SKIP_TARGETS * target_s * 1000) if skip else 0
    bare = _older(muxer, listed, PARTS_TARGETS * target_s * 1000)
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{target_s}",
        f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={SKIP_TARGETS * target_s:.1f},"
        f"HOLD-BACK={HOLD_BACKS * target_s:.1f},PART-HOLD-BACK={HOLD_BACKS * part_s:.3f}",
        f"#EXT-X-PART-INF:PART-TARGET={part_s:.3f}",
        f"#EXT-X-MEDIA-SEQUENCE:{muxer.first_listed}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{muxer.first_epoch}",
    ]
    epoch: Epoch | None = None
    if skipped:
        lines.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")
        epoch = listed[skipped - 1].epoch
    for index, segment in enumerate(listed[skipped:], skipped):
        if segment.epoch is not epoch:
            lines += _epoch_lines(muxer, rendition, segment)
            epoch = segment.epoch
        elif segment.number % DATED_EVERY == 0:
            lines.append(_date(segment.epoch, segment.start_ms))
        if index >= bare and segment.is_cut_up:
            lines += [_part_line(muxer, rendition, segment, part) for part in segment.parts]
        lines.append(_segment_lines(muxer, rendition, segment))
    if muxer.is_over:
        lines.append("#EXT-X-ENDLIST")
    elif muxer.open is not None:
        lines += _edge(muxer, rendition, muxer.open, epoch)
    return "\n".join(lines) + "\n"


def _older(muxer: Muxer, listed: Sequence[Segment], than_ms: int) -> int:
    """How many of the segments in the playlist end further from its end, in media time, than ``than_ms``."""
    passed_ms = 0 if muxer.open is None else muxer.open.duration_ms
    for count in range(len(listed), 0, -1):
        if passed_ms > than_ms:
            return count
        passed_ms += listed[count - 1].duration_ms
    return 0


def _epoch_lines(muxer: Muxer, rendition: Rendition, segment: Segment) -> list[str]:
    """What stands before the first segment of an epoch, and before the first of a playlist."""
    epoch = segment.epoch
    lines = ["#EXT-X-DISCONTINUITY"] if segment.breaks else []
    if epoch.has(rendition):
        lines.append(f'#EXT-X-MAP:URI="{muxer.run}/{epoch.number}{rendition.value}.mp4{QUERY}"')
    lines.append(_date(epoch, segment.start_ms))
    return lines


def _date(epoch: Epoch, dts_ms: int) -> str:
    date = datetime.fromtimestamp(epoch.wall_s + dts_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return f"#EXT-X-PROGRAM-DATE-TIME:{date.replace('+00:00', 'Z')}"


def _segment_lines(muxer: Muxer, rendition: Rendition, segment: Segment) -> str:
    lines = segment.lines.get(rendition)
    if lines is None:
        gap = "" if segment.has(rendition) else "#EXT-X-GAP\n"
        address = f"{muxer.run}/{segment.number}{rendition.value}.m4s{QUERY}"
        lines = segment.lines[rendition] = f"{gap}#EXTINF:{segment.duration_ms / 1000:.3f},\n{address}"
    return lines


def _part_line(muxer: Muxer, rendition: Rendition, segment: Segment, part: Part) -> str:
    address = f"{muxer.run}/{segment.number}{rendition.value}.{part.number}.m4s{QUERY}"
    independent = ",INDEPENDENT=YES" if part.is_independent or rendition is Rendition.AUDIO else ""
    gap = "" if part.has(rendition) else ",GAP=YES"
    return f'#EXT-X-PART:DURATION={part.duration_ms / 1000:.3f},URI="{address}"{independent}{gap}'


def _edge(muxer: Muxer, rendition: Rendition, segment: Segment, before: Epoch | None) -> list[str]:
    """The parts of the segment being cut, the part to come, and how far the other rendition is."""
    lines: list[str] = []
    if segment.parts:
        if segment.epoch is not before:
            lines += _epoch_lines(muxer, rendition, segment)
        lines += [_part_line(muxer, rendition, segment, part) for part in segment.parts]
    if muxer.is_flowing and segment.epoch.has(rendition):
        address = f"{muxer.run}/{segment.number}{rendition.value}.{len(segment.parts)}.m4s{QUERY}"
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{address}"')
    other = _SAME[rendition]
    if segment.epoch.has_video and segment.epoch.has(other):
        last, part = (
            (segment.number, len(segment.parts) - 1)
            if segment.parts
            else (muxer.last_closed, len(muxer.segments[-1].cuts) - 1)
        )
        lines.append(f'#EXT-X-RENDITION-REPORT:URI="{NAMES[other]}{QUERY}",LAST-MSN={last},LAST-PART={part}')
    return lines
