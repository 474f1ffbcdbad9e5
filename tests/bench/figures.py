"""Figures of processes: processor time, memory, percentiles."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far (proc(5), fields 14 and 15 of its stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def memory_mib(pid: int) -> float:
    """What a process has in memory, of shared pages its share (Pss), in MiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that ``share`` of ``ordered`` (at least one, the least first) does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def histogram_percentile(before: Mapping[str, float], after: Mapping[str, float], name: str, share: float) -> float:
    """The bound below which ``share`` of what a Prometheus histogram counted between two scrapes lies."""
    bounds = []
    for sample, count in after.items():
        found = re.fullmatch(re.escape(name) + r'_bucket\{le="([^"]+)"\}', sample)
        if found is not None:
            bounds.append((float(found[1]), count - before.get(sample, 0.0)))
    bounds.sort()
    return next(bound for bound, count in bounds if count >= share * bounds[-1][1])
