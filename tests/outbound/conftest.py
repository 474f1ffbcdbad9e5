"""Fixtures of outbound tests: those of egress."""

from tests.egress.conftest import make_settings, settings

__all__ = ["make_settings", "settings"]
