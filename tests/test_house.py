"""The house checks its own plan: floors, mirrors, sizes, signs, one home per library, nothing left lying about.

Each rule runs over the real tree, which must have no violation, and over a small tree that breaks it on purpose,
which must show it.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import house

ROOT = Path(__file__).parent.parent

SIGN = '"""A room.\n\nFloor {}. Without anything.\n"""\n'

GOOD = {
    "pyproject.toml": "",
    "relay/__init__.py": '"""Field Relay."""\n',
    "relay/media/__init__.py": SIGN.format(0),
    "relay/media/packet.py": '"""Packets."""\n',
    "relay/errors.py": '"""Errors."""\n\n\nclass RelayError(Exception):\n    """Ours."""\n',
    "relay/protocol/__init__.py": SIGN.format(1),
    "relay/protocol/flv.py": '"""FLV."""\n\nfrom relay.media import packet\n\nUSED = packet\n',
    "relay/egress/__init__.py": SIGN.format(3),
    "relay/egress/rtmp.py": '"""RTMP out."""\n\nfrom relay.protocol.flv import USED\n\nKEPT = USED\n',
    "relay/web/__init__.py": SIGN.format(5),
    "tests/__init__.py": "",
    "tests/media/test_packet.py": '"""Packets."""\n',
    "tests/protocol/test_flv.py": '"""FLV."""\n',
    "tests/egress/test_rtmp.py": '"""RTMP out."""\n',
    "tests/test_errors.py": '"""Errors."""\n',
}

# rule: files put over GOOD, and what the violation must name
BROKEN: dict[str, list[tuple[dict[str, str], str]]] = {
    "floors": [
        ({"relay/media/packet.py": '"""P."""\n\nimport relay.egress.rtmp\n'}, "floor 0 imports egress of floor 3"),
        ({"relay/protocol/flv.py": '"""F."""\n\nfrom relay import web\n'}, "floor 1 imports web of floor 5"),
        ({"relay/egress/rtmp.py": '"""R."""\n\nfrom relay.archive import store\n'}, "its neighbour archive"),
        ({"relay/shed.py": '"""S."""\n'}, "shed has no floor"),
    ],
    "relative_imports": [({"relay/protocol/flv.py": '"""F."""\n\nfrom . import x\n'}, "flv.py:3")],
    "forbidden_imports": [
        ({"relay/protocol/flv.py": '"""F."""\n\nimport time\n'}, "protocol must not import time"),
        ({"relay/protocol/flv.py": '"""F."""\n\n\ndef f():\n    import os.path\n'}, "must not import os"),
        ({"relay/hub/stream.py": '"""S."""\n\nfrom socket import socket\n'}, "hub must not import socket"),
    ],
    "homes": [({"relay/egress/rtmp.py": '"""R."""\n\nimport boto3\n'}, "boto3 lives in archive/s3.py")],
    "mirrors": [
        ({"relay/egress/hls.py": '"""H."""\n'}, "no tests/egress/test_hls.py"),
        ({"tests/egress/test_gone.py": '"""G."""\n'}, "no relay/egress/gone.py"),
    ],
    "sizes": [({"relay/media/packet.py": '"""P."""\n' + "x = 1\n" * 400}, "401 lines")],
    "docstrings": [
        ({"relay/media/packet.py": "x = 1\n"}, "does not begin with a docstring"),
        ({"relay/media/packet.py": '# a remark\n"""P."""\n'}, "does not begin with a docstring"),
        ({"relay/media/__init__.py": '"""A room without a number."""\n'}, "does not say Floor 0"),
        ({"relay/media/__init__.py": '"""Floor 0: everything."""\n'}, "does not say what it lacks"),
    ],
    "leftovers": [
        ({"relay/media/packet.py": '"""P."""\n# TO' + "DO: later\n"}, "packet.py:2"),
        ({"tests/media/test_packet.py": '"""P."""\n\n\ndef test_it():\n    assert True\n'}, "cannot fail"),
        ({"relay/media/packet.py": '"""P."""\n\n\ndef f():\n    raise NotImplementedError\n'}, "not implemented"),
    ],
    "silence": [
        ({"relay/errors.py": '"""E."""\ntry:\n    x = 1\nexcept Exception:\n    pass\n'}, "swallows every error"),
        ({"relay/errors.py": '"""E."""\ntry:\n    x = 1\nexcept:\n    pass\n'}, "swallows every error"),
    ],
    "prints": [({"relay/errors.py": '"""E."""\nprint(1)\n'}, "errors.py:2: print")],
    "words": [({"relay/egress/rtmp.py": '"""R."""\n\n\nclass RtmpSink:\n    """S."""\n'}, "say destination")],
    "secrets": [
        ({"deploy/key.pem": "-----BEGIN PRIVATE" + " KEY-----\nMIIEvQ\n"}, "looks like a secret"),
        ({"deploy/relay.toml": "key = 'AKIA" + "ABCDEFGHIJKLMNOP'\n"}, "looks like a secret"),
        ({"tests/data/admin.token": "x"}, "a secret file"),
    ],
    "comparisons": [
        ({"relay/errors.py": '"""E."""\n\nSAME = ours.reveal() == theirs\n'}, "compares a secret's text"),
        ({"relay/errors.py": '"""E."""\n\nSAME = theirs in (ours.reveal().strip(), "")\n'}, "compares a secret's text"),
    ],
    "top_level": [({"notes.md": "x"}, "notes.md: does not belong")],
    "big_files": [({"tests/data/clip.flv": "x" * 1_000_001}, "1000001 bytes")],
}


def write(root: Path, files: dict[str, str]) -> house.Tree:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return house.Tree(root)


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_plan(rule: house.Rule) -> None:
    violations = list(rule(house.Tree(ROOT)))
    assert not violations, "\n" + "\n".join(violations)


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_passes_a_good_tree_and_fails_broken_ones(rule: house.Rule, tmp_path: Path) -> None:
    assert list(rule(write(tmp_path / "good", GOOD))) == []
    for number, (files, named) in enumerate(BROKEN[rule.__name__]):
        violations = list(rule(write(tmp_path / str(number), {**GOOD, **files})))
        assert any(named in violation for violation in violations), (named, violations)


def test_the_layers_contract_names_the_same_floors_and_holds() -> None:
    """pyproject.toml's contract splits the roof into layers of its own; all else is one layer for each floor."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    rooms = [{room.strip().removeprefix("relay.") for room in re.split(r"[|:]", layer)} for layer in layers]
    lower = [set(floor) for floor in reversed(house.FLOORS[:-1])]
    roof = rooms[: len(rooms) - len(lower)]
    assert rooms[len(roof) :] == lower
    assert set().union(*roof) == set(house.FLOORS[-1])
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
