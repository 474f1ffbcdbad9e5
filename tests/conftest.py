"""Fixtures for every test: child processes that end with the test, and relays to drive."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.process import Processes
from tests.support.relay import leaks

for _name in [name for name in os.environ if name.startswith("RELAY_") and not name.startswith("RELAY_TEST_")]:
    del os.environ[_name]  # settings of whoever runs the tests: theirs may name a data directory in use

# The same cases every time: a failure is a change's. The long run looks for new ones.
settings.register_profile("steady", derandomize=True)
if os.environ.get("RELAY_TEST_FULL") != "1":
    settings.load_profile("steady")

_OUTCOME = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failed test, so that its programs' output is shown with it."""
    report = yield
    if report.failed:
        item.stash[_OUTCOME] = True
    return report


@pytest.fixture(scope="session", autouse=True)
def no_leaks() -> Iterator[None]:
    """When all tests are over, no secret of theirs is in the log of any relay they started, killed ones included."""
    yield
    found = leaks()
    assert not found, f"{len(found)} secrets in logs:\n" + "\n".join(found)


@pytest.fixture
def processes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Processes]:
    """Starts programs; all are killed when the test ends, and what they said is printed when it failed."""
    folder = tmp_path / "processes"
    folder.mkdir()
    group = Processes(folder)
    try:
        yield group
    finally:
        group.close()
        if request.node.stash.get(_OUTCOME, False):
            request.node.add_report_section("teardown", "programs", group.report())
