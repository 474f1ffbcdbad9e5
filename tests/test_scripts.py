"""The scripts as a newcomer meets them: usage messages, quick with nothing to do, safe to interrupt."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ("install", "start", "check", "test", "lock", "deployment", "fuzz")


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_parses_and_may_be_run(name: str) -> None:
    script = ROOT / "scripts" / name
    assert os.access(script, os.X_OK)
    assert script.read_text("utf-8").startswith("#!/usr/bin/env bash\n# ")
    subprocess.run(["bash", "-n", script], check=True)


def test_unknown_arguments_are_refused() -> None:
    done = subprocess.run([ROOT / "scripts/install", "--prod"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with an installed environment, as far as the script can tell without running pip."""
    root = tmp_path / "relay here"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/install", root / "scripts/install")
    for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
        (root / name).write_text(f"{name} as it was\n", "utf-8")
    binaries = root / ".venv/bin"
    binaries.mkdir(parents=True)
    (root / ".venv/pyvenv.cfg").write_text("home = /usr\n", "utf-8")
    # Stands in for the environment's Python: notes each pip call and succeeds.
    python = binaries / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>"{root}/calls"\n', "utf-8")
    python.chmod(0o755)
    (binaries / "relay").write_text("#!/bin/sh\n", "utf-8")
    (binaries / "relay").chmod(0o755)
    return root


def install(tree: Path) -> list[str]:
    """Run scripts/install; the pip commands it gave."""
    calls = tree / "calls"
    calls.unlink(missing_ok=True)
    done = subprocess.run([tree / "scripts/install"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in calls.read_text("utf-8").splitlines() if " install " in line]


def test_a_second_run_does_nothing(tree: Path) -> None:
    first = install(tree)
    assert "--require-hashes -r requirements.lock" in first[0]
    assert first[1].endswith("--no-deps --no-build-isolation -e .")
    assert install(tree) == []


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml", ".venv/pyvenv.cfg"])
def test_what_changed_is_installed_again(tree: Path, name: str) -> None:
    install(tree)
    (tree / name).write_text("changed\n", "utf-8")
    assert len(install(tree)) == 2
    assert install(tree) == []


def test_a_moved_checkout_is_installed_again(tree: Path) -> None:
    install(tree)
    moved = tree.rename(tree.with_name("elsewhere"))
    python = moved / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\necho "$@" >>"{moved}/calls"\n', "utf-8")
    assert len(install(moved)) == 2


def test_an_interrupted_run_is_done_again(tree: Path) -> None:
    """pip dies half-way: the failure is passed on, and the mark it leaves makes the next run start over."""
    python = tree / ".venv/bin/python"
    good = python.read_text("utf-8")
    python.write_text('#!/bin/sh\ncase "$*" in *" install "*) exit 7;; esac\n', "utf-8")
    done = subprocess.run([tree / "scripts/install"], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert (tree / ".venv/.installing").exists()
    assert not list((tree / ".venv").glob(".installed-*"))
    python.write_text(good, "utf-8")
    # A new environment is made from nothing this time, by a real Python whose pip then has no packages to find.
    (tree / "requirements.lock").write_text("no-such-distribution==0 --hash=sha256:00\n", "utf-8")
    again = subprocess.run([tree / "scripts/install"], capture_output=True, text=True, check=False)
    assert "environment: .venv" in again.stdout
    assert again.returncode != 0
    assert (tree / ".venv/.installing").exists()
