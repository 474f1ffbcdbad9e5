"""Runs one target under atheris for a while, and keeps of its corpus what reaches most with least."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import TARGETS
from tests.fuzz.seeds import SEEDS, WORDS

KEPT = Path(__file__).parents[1] / "data" / "fuzz"
INPUT_S = 5  # one input may take that long under the fuzzer, which makes everything some ten times slower
_STAT = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_COVER = re.compile(r"cov: (\d+) ft:")
_IN_LIBRARIES = ("deadly signal", "Did not return to Python execution")
ENDS_CHILD = "ends-child-"
_REGRESSIONS = ("broke-", ENDS_CHILD)
_FINDINGS = ("crash-", "timeout-", "oom-", "leak-")


class Found(NamedTuple):
    """What a run came to. ``edges``: of the relay's byte code; ``inputs``: files that broke the target.

    ``deaths``: how often a library ended the process or hung, of a target that is contained.
    """

    target: str
    runs: int
    per_s: int
    edges: int
    rss_mb: int
    deaths: int
    inputs: list[Path]
    output: str


def corpus(name: str) -> Path:
    """Where the repository keeps a target's corpus."""
    return KEPT / name


def fuzz(name: str, seconds: int, findings: Path) -> Found:
    """Fuzz from the kept corpus on; what breaks the target is put into ``findings``, what reaches more is kept."""
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"fieldrelay-fuzz-{name}-") as folder:
        work, kept = Path(folder) / "work", corpus(name)
        work.mkdir()
        for number, data in enumerate(SEEDS[name]()):
            (work / f"seed-{number:02d}").write_bytes(data)
        for path in sorted(kept.glob("*")):
            if path.name.startswith(ENDS_CHILD):
                continue  # it would at once
            shutil.copy(path, work)
        found = Found(name, 0, 0, 0, 0, 0, [], "")
        started = time.monotonic()
        while not found.inputs and (left := seconds - (time.monotonic() - started)) >= 1:
            found = _tried(found, Path(folder), work, int(left), findings)
        if not found.inputs:
            _keep(name, Path(folder), work)
    return found._replace(per_s=round(found.runs / max(1, seconds)))


def _tried(so_far: Found, folder: Path, work: Path, seconds: int, findings: Path) -> Found:
    """``so_far``, and what another run adds to it."""
    name = so_far.target
    before = set(findings.iterdir())
    output = _atheris(name, folder, work, f"-max_total_time={seconds}", f"-artifact_prefix={findings}/")
    inputs = sorted(path for path in set(findings.iterdir()) - before if path.name.startswith(_FINDINGS))
    is_death = TARGETS[name].is_contained and any(mark in output for mark in _IN_LIBRARIES)
    for path in inputs if is_death else []:
        path.rename(path.with_name(f"death-{path.name.partition('-')[2]}"))
    stats = {key: int(value) for key, value in _STAT.findall(output)}
    runs = stats.get("number_of_executed_units", 0)
    if not runs and not inputs:
        raise RuntimeError(f"{name}: the fuzzer did not run:\n{output[-3000:]}")
    return Found(
        name,
        so_far.runs + runs,
        0,
        max([so_far.edges, *(int(edges) for edges in _COVER.findall(output))]),
        max(so_far.rss_mb, stats.get("peak_rss_mb", 0)),
        so_far.deaths + is_death,
        [] if is_death else inputs,
        output,
    )


def _keep(name: str, folder: Path, work: Path) -> None:
    """The least of ``work`` that reaches as many edges as all of it becomes the kept corpus; regressions stay."""
    least, kept = folder / "least", corpus(name)
    least.mkdir()
    _atheris(name, folder, least, str(work), "-merge=1", "-use_counters=0")
    if not any(least.iterdir()):
        raise RuntimeError(f"{name}: the fuzzer could not make its corpus smaller")
    kept.mkdir(parents=True, exist_ok=True)
    for path in kept.iterdir():
        if not path.name.startswith(_REGRESSIONS):
            path.unlink()
    for path in least.iterdir():
        if not path.name.startswith(_REGRESSIONS):
            shutil.copy(path, kept / path.name)


def _atheris(name: str, folder: Path, where: Path, *more: str) -> str:
    """What the fuzzer says, working on the files of ``where``."""
    target = TARGETS[name]
    command = [
        *(sys.executable, "-m", "tests.fuzz.child", name, str(where), f"-max_len={target.most}"),
        *(f"-timeout={INPUT_S}", f"-rss_limit_mb={target.rss_mb}", "-print_final_stats=1", *more),
    ]
    if name in WORDS:
        words = folder / "words"
        lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in WORDS[name]]
        words.write_text("".join(f'"{line}"\n' for line in lines), "ascii")
        command.append(f"-dict={words}")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RELAY_")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode("utf-8", "replace")
