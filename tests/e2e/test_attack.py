"""Every attack in its short form: the relay takes it as it must, and honest publishers do not notice."""

from pathlib import Path

import pytest

from tests.attack import ATTACKS
from tests.chaos.bench import Bench
from tests.support.process import Processes

ELSEWHERE = {"destinations": "test_hostile.py", "canary": "test_secrets.py"}  # where these run short


@pytest.mark.timeout(300)
@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack not in ELSEWHERE])
async def test_an_attack_costs_what_it_may_and_honest_publishers_nothing(
    attack: str, processes: Processes, tmp_path: Path
) -> None:
    figures = await Bench(attack, processes, tmp_path, quick=True, package="tests.attack").run()
    missed = [item for item in figures if not item.good]
    assert not missed, "\n".join(f"{item.what}: {item.found}, must be {item.must}" for item in missed)
