"""Sources: what of their addresses may be seen."""

import pytest

from relay.errors import DestinationError
from relay.ingest.source import SourceConfig, rtmp_source, shown_url, taken
from relay.secret import Secret


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/live/index.m3u8", "https://h.example/live/index.m3u8"),
        ("http://h.example:8080/a.m3u8?token=SECRET", "http://h.example:8080/a.m3u8?********"),
        ("https://user:SECRET@h.example/a.m3u8", "https://********@h.example/a.m3u8"),
        ("https://SECRET@h.example/a?SECRET#f", "https://********@h.example/a?********"),
        ("rtmp://h.example/live/SECRET", "rtmp://h.example/live/********"),
        ("rtmps://h.example:1936/live/name?key=SECRET", "rtmps://h.example:1936/live/********"),
        ("rtmp://h.example/SECRET", "rtmp://"),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_an_rtmp_address_comes_apart() -> None:
    url, name = rtmp_source(SourceConfig(Secret("rtmp://h.example/app/inst/name?key=k")))
    assert (url.app, name) == ("app/inst", "name?key=k")
    with pytest.raises(DestinationError, match="names no stream"):
        rtmp_source(SourceConfig(Secret("rtmp://h.example/app")))


def test_a_channel_that_is_taken_is_counted_as_such() -> None:
    assert taken().outcome == "yielded"
