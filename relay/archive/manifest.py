"""stub"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from relay.database import GapRow, RecordingRow, SegmentRow

KEY_NAME = "manifest.json"


class Signer:
    def __init__(self, path: Path) -> None: ...


def build(
    row: RecordingRow,
    segments: Sequence[SegmentRow],
    gaps: Sequence[GapRow],
    inits: Mapping[str, tuple[int, str]],
    *,
    complete: bool,
    signer: Signer,
    now: float,
) -> bytes:
    return json.dumps([asdict(row), [asdict(x) for x in segments], [asdict(x) for x in gaps], inits]).encode()
