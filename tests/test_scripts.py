"""The scripts as a newcomer meets them: usage messages, quick with nothing to do, safe to interrupt."""

import importlib.util
import json
import os
import shutil
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = (
    "install",
    "start",
    "check",
    "test",
    "lock",
    "deployment",
    "sbom",
    "audit-dependencies",
    "tool",
    "attack",
    "fuzz",
)


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


def loaded(name: str) -> ModuleType:
    """A module of scripts/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_of_materials_has_all_that_is_vendored() -> None:
    sbom = loaded("sbom")
    made = sbom.vendored()
    assert (made["name"], made["purl"]) == ("hls.js", f"pkg:npm/hls.js@{made['version']}")
    assert made["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    listed = {Path(made["properties"][0]["value"]).name}
    there = {path.name for path in sbom.VENDOR.iterdir() if not path.name.endswith(".LICENSE")}
    assert there == listed, "a file nobody accounts for"


def test_every_package_tells_its_licence() -> None:
    sbom = loaded("sbom")
    silent = {item.name for item in distributions() if not sbom.licences(item)}
    locked = loaded("audit_dependencies").locked(str(ROOT / "requirements.lock"))
    assert {name.lower() for name in silent} & locked == set()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([{"name": "one", "version": "1", "vulns": []}, {"name": "two-b", "version": "2", "vulns": []}], 0),
        ([{"name": "one", "version": "1", "vulns": []}, {"name": "two-b", "skip_reason": "not found on PyPI"}], 2),
        ([{"name": "one", "version": "1", "vulns": []}], 2),
        ([{"name": "one", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}], 1),
        (None, 2),
    ],
    ids=["good", "one was passed over", "one is not spoken of", "vulnerable", "no answer"],
)
def test_an_audit_says_what_it_could_not_check(
    said: list[dict[str, object]] | None, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """pip-audit itself ends with 0 where its service does not know a package."""
    lock = tmp_path / "x.lock"
    lock.write_text("one==1 \\\n    --hash=sha256:00\ntwo-b[extra]==2 ; python_version > '3'\n    # via one\n")
    tool = tmp_path / "pip-audit"
    answer = "" if said is None else json.dumps({"dependencies": said, "fixes": []})
    tool.write_text(f"#!/bin/sh\necho trouble >&2\ncat <<'END'\n{answer}\nEND\n")
    tool.chmod(0o755)
    assert loaded("audit_dependencies").main(str(tool), [str(lock)]) == code
    told = capfd.readouterr()
    assert ("NOT CHECKED" in told.err) == (code == 2 or (said is not None and len(said) < 2))
    assert ("CVE-1" in told.out) == (code == 1)
