"""Fixtures of egress tests: settings with short limits that allow the loopback."""

from collections.abc import Callable

import pytest

from relay.config import Settings

MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings() -> MakeSettings:
    """Settings for one test; keywords are limits, apart from ``allow_private`` and ``ca_file``."""

    def make(**values: object) -> Settings:
        outbound = {"allow_private": values.pop("allow_private", True), "ca_file": values.pop("ca_file", None)}
        limits = {"dial_s": 1.0, "write_stall_s": 2.0, "retry_first_s": 0.05, "retry_most_s": 0.1, **values}
        return Settings.model_validate({"outbound": outbound, "limits": limits})

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings()
