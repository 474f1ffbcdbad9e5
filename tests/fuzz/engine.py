"""Runs one target under atheris for a while, and keeps of its corpus what reaches most with least."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import TARGETS
from tests.fuzz.seeds import SEEDS, WORDS

KEPT = Path(__file__).parents[1] / "data" / "fuzz"
INPUT_S = 5  # one input may take that long under the fuzzer, which makes everything some ten times slower
_STAT = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_COVER = re.compile(r"cov: (\d+) ft: (\d+)")
_FINDINGS = ("crash-", "timeout-", "oom-", "leak-")


class Found(NamedTuple):
    """What a run came to. ``edges``: of the relay's byte code; ``inputs``: kept files that broke the target."""

    target: str
    runs: int
    per_s: int
    edges: int
    rss_mb: int
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
        for path in kept.glob("*") if kept.is_dir() else []:
            shutil.copy(path, work)
        before = set(findings.iterdir())
        output = _atheris(name, Path(folder), work, f"-max_total_time={seconds}", f"-artifact_prefix={findings}/")
        inputs = sorted(path for path in set(findings.iterdir()) - before if path.name.startswith(_FINDINGS))
        if not inputs:
            _keep(name, Path(folder), work)
    stats = {key: int(value) for key, value in _STAT.findall(output)}
    edges = max((int(found[0]) for found in _COVER.findall(output)), default=0)
    return Found(
        name,
        stats.get("number_of_executed_units", 0),
        stats.get("average_exec_per_sec", 0),
        edges,
        stats.get("peak_rss_mb", 0),
        inputs,
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
        if not path.name.startswith("broke-"):
            path.unlink()
    for path in least.iterdir():
        if not path.name.startswith("broke-"):
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
