"""Every fault run in its short form: what it must show, it shows."""

from pathlib import Path

import pytest

from tests.chaos import FAULTS
from tests.chaos.bench import Bench
from tests.support.process import Processes


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_costs_what_is_promised_and_no_more(fault: str, processes: Processes, tmp_path: Path) -> None:
    figures = await Bench(fault, processes, tmp_path, quick=True).run()
    missed = [item for item in figures if not item.good]
    assert not missed, "\n".join(f"{item.what}: {item.found}, must be {item.must}" for item in missed)
