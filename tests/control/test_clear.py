"""In the clear: said of publishers from outside only, as a warning where there is something better, else as a hint."""

from pathlib import Path

import pytest

from relay.config import Settings
from relay.control.clear import HINT, WARNING, in_the_clear
from relay.ingest.base import PublisherInfo


def said(address: str, *, protocol: str = "rtmp", encrypted: bool = False, **sections: object) -> list[tuple[str, str]]:
    info = PublisherInfo(
        protocol=protocol, address=address, encoder="", encrypted=encrypted, connected_at=0.0, bytes_received=0,
        rtt_s=None,
    )  # fmt: skip
    return [(item.rule, item.words) for item in in_the_clear(info, Settings.model_validate(sections))]


WITH_RTMPS = {"rtmp": {"tls_certificate": Path("c.pem"), "tls_listen": "0.0.0.0:1936"}}


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_from_outside(address: str) -> None:
    ((rule, words),) = said(address, **WITH_RTMPS)
    assert rule == WARNING
    assert "rtmps://HOST:1936/live" in words
    ((rule, words),) = said(address)
    assert (rule, "rtmp.tls_certificate" in words) == (HINT, True)
    ((rule, words),) = said(address, protocol="hls")
    assert (rule, "ingest_http.tls_certificate" in words) == (HINT, True)
    assert said(address, encrypted=True, **WITH_RTMPS) == []
    assert said(address, protocol="rtmp pull", **WITH_RTMPS) == []


HOUSE = ["127.0.0.1", "10.1.2.3", "192.168.1.9", "169.254.1.1", "100.64.0.1", "fe80::1%eth0", "::1", "fd00::1", "?"]


@pytest.mark.parametrize("address", HOUSE)
def test_from_the_house_itself(address: str) -> None:
    assert said(address, **WITH_RTMPS) == []


def test_nobody() -> None:
    assert in_the_clear(None, Settings()) == []
