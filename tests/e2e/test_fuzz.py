"""The API of a real relay under made-up requests, in short; ``scripts/fuzz api`` makes thousands."""

from pathlib import Path

from tests.fuzz.relay import attack
from tests.support.process import Processes


async def test_no_request_is_too_much_for_the_api(processes: Processes, tmp_path: Path) -> None:
    outcome = await attack(processes, tmp_path, 200)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.cases >= 150
    assert {200, 201, 204, 404, 422} <= outcome.statuses.keys()
