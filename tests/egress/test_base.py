"""What a configured destination means on the wire, and what people may see of it."""

import pytest

from relay.egress.base import DestinationConfig, publish_address, shown_url
from relay.errors import DestinationError
from relay.secret import Secret

# url, key: tcUrl, app, stream name; what is shown
ADDRESSES = [
    ("rtmp://h/live", "k", "rtmp://h/live", "live", "k", "rtmp://h/live"),
    ("rtmp://h:1936/live/", "k", "rtmp://h:1936/live", "live", "k", "rtmp://h:1936/live"),
    ("rtmp://h/live/inst", "k", "rtmp://h/live/inst", "live/inst", "k", "rtmp://h/live/inst"),
    ("rtmps://dc4-1.rtmp.t.me/s/", "1:ab", "rtmps://dc4-1.rtmp.t.me/s", "s", "1:ab", "rtmps://dc4-1.rtmp.t.me/s"),
    ("rtmps://b:443/live2?backup=1", "k", "rtmps://b/live2?backup=1", "live2?backup=1", "k", "rtmps://b/live2"),
    ("rtmp://h/live", "k?token=t", "rtmp://h/live", "live", "k?token=t", "rtmp://h/live"),
    ("rtmp://h/live/k", "", "rtmp://h/live", "live", "k", "rtmp://h/live"),
    ("rtmp://h/live/inst/k?token=t", "", "rtmp://h/live/inst", "live/inst", "k?token=t", "rtmp://h/live/inst"),
    ("rtmp://[::1]/live", "k", "rtmp://[::1]/live", "live", "k", "rtmp://[::1]/live"),
]


@pytest.mark.parametrize(("url", "key", "tc_url", "app", "name", "shown"), ADDRESSES)
def test_app_and_key_are_apart(url: str, key: str, tc_url: str, app: str, name: str, shown: str) -> None:
    config = DestinationConfig("d", url, Secret(key))
    address, stream_name = publish_address(config)
    assert (address.tc_url, address.app, stream_name) == (tc_url, app, name)
    assert shown_url(config) == shown


# url without a key of its own: what is wrong, and what is shown of it
WRONG = [
    ("http://h/live/secretkey", "rtmp://", "http://h"),
    ("rtmp:///live/secretkey", "no host", "rtmp://"),
    ("rtmp://h/secretkey", "no stream key", "rtmp://h"),
    ("rtmp://user:secretkey@h/live/k", "user name", "rtmp://h"),
    ("rtmp://h:x/live/secretkey", "not a URL", "rtmp://h:x"),
    ("secretkey", "rtmp://", ""),
]


@pytest.mark.parametrize(("url", "words", "shown"), WRONG)
def test_a_url_that_cannot_be_dialled_says_why_and_shows_no_key(url: str, words: str, shown: str) -> None:
    config = DestinationConfig("d", url)
    with pytest.raises(DestinationError, match=words) as caught:
        publish_address(config)
    assert caught.value.outcome == "config"
    assert "secretkey" not in str(caught.value)
    assert shown_url(config) == shown


def test_neither_key_nor_query_of_an_hls_destination_is_shown() -> None:
    config = DestinationConfig("d", "https://h/up?cid={key}&file=", Secret("secretkey"), kind="hls")
    assert shown_url(config) == "https://h/up"
    assert "secretkey" not in repr(config)


def test_a_configuration_never_shows_its_key() -> None:
    config = DestinationConfig("d", "rtmp://h/live", Secret("secretkey"))
    assert "secretkey" not in repr(config)
