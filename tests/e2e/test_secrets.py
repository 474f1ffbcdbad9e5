"""Secrets, end to end: through a relay at work and in trouble none is let out; RTMPS and HTTPS go on over a renewal."""

import os
from pathlib import Path

from tests.attack.canary import canary
from tests.support.process import Processes

FULL = os.environ.get("RELAY_TEST_FULL") == "1"


async def test_no_secret_is_let_out_whatever_happens(processes: Processes, tmp_path: Path) -> None:
    rows = await canary(processes, tmp_path, quick=not FULL)
    places = {row.what.partition(": ")[2].partition(" (")[0] for row in rows}
    for place in ("log", "metrics", "database", "object keys", "objects", "environments of children", "as a viewer"):
        assert place in places
    assert [row for row in rows if not row.good] == []
