"""Addresses: as people type them and as encoders split them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.protocol.rtmp.url import MAX_PARAMETERS, parse_rtmp_url, split_publish, split_stream


@pytest.mark.parametrize(
    ("text", "host", "port", "app", "tc_url"),
    [
        ("rtmp://h.example/live", "h.example", 1935, "live", "rtmp://h.example/live"),
        ("rtmps://h.example/live2", "h.example", 443, "live2", "rtmps://h.example/live2"),
        ("rtmps://h.example:443/rtmp/", "h.example", 443, "rtmp", "rtmps://h.example/rtmp"),
        ("rtmp://h:1936/a/b?x=1", "h", 1936, "a/b?x=1", "rtmp://h:1936/a/b?x=1"),
        ("rtmp://[::1]:1936/a", "::1", 1936, "a", "rtmp://[::1]:1936/a"),
        ("  rtmp://h/a \n", "h", 1935, "a", "rtmp://h/a"),
    ],
)
def test_urls(text: str, host: str, port: int, app: str, tc_url: str) -> None:
    url = parse_rtmp_url(text)
    assert (url.host, url.port, url.app, url.tc_url) == (host, port, app, tc_url)
    assert url.is_tls == text.strip().startswith("rtmps")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://h/a", "rtmp://"), ("rtmp:///a", "no host"), ("rtmp://u:p@h/a", "password"),
        ("rtmp://h:99999/a", "not a URL"), ("rtmp://h/a\0b", "control"), ("rtmp://h/" + "a" * 3000, "longer"), ("", "rtmp://"),
    ],
)  # fmt: skip
def test_bad_urls_are_told_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        parse_rtmp_url(text)


@pytest.mark.parametrize(
    ("app", "name", "stream", "key"),
    [
        ("live", "KEY", "KEY", "KEY"),
        ("live/KEY", "", "KEY", "KEY"),
        ("live/", "KEY", "KEY", "KEY"),
        ("/live/", "/KEY/", "KEY", "KEY"),
        ("live/_definst_", "KEY", "KEY", "KEY"),
        ("live", "KEY?token=1", "KEY", "KEY"),
        ("live", "?key=KEY", "", "KEY"),
        ("live", "demo?key=KEY", "demo", "KEY"),
        ("live?key=KEY", "demo", "demo", "KEY"),
        ("live?key=KEY", "", "", "KEY"),
        ("live", "live/KEY", "KEY", "KEY"),
        ("live", "KEY%20", "KEY ", "KEY "),
        ("live", "", "", ""),
    ],
)
def test_publish_addresses_as_encoders_send_them(app: str, name: str, stream: str, key: str) -> None:
    address = split_publish(app, name)
    assert (address.app, address.name, address.key) == ("live", stream, key)


def test_other_parameters_are_kept() -> None:
    assert split_publish("live?a=1", "KEY?b=2&key=K").query == {"a": "1", "b": "2"}


def test_more_parameters_than_there_may_be_are_refused() -> None:
    most = "&".join(f"p{number}=x" for number in range(MAX_PARAMETERS))
    assert len(split_publish("live", f"key?{most}").query) == MAX_PARAMETERS
    for app, name in ((f"live?{most}&one=more", "key"), ("live", f"key?{most}&one=more")):
        with pytest.raises(ProtocolError, match="more than 64 parameters"):
            split_publish(app, name)


@given(st.text(max_size=60), st.text(max_size=60))
def test_arbitrary_names_raise_nothing_but_protocol_errors(app: str, name: str) -> None:
    try:
        address = split_publish(app, name)
    except ProtocolError:
        return
    assert isinstance(address.key, str)


@given(st.text(max_size=80))
def test_arbitrary_urls_raise_nothing_but_protocol_errors(text: str) -> None:
    for candidate in (text, f"rtmp://{text}", f"rtmps://h/{text}"):
        try:
            parse_rtmp_url(candidate)
        except ProtocolError:
            continue


def test_a_stream_name_comes_off_a_url_with_its_query() -> None:
    url, name = split_stream(parse_rtmp_url("rtmp://h.example/app/instance/name?key=k"))
    assert (url.app, url.tc_url, name) == ("app/instance", "rtmp://h.example/app/instance", "name?key=k")
    with pytest.raises(ProtocolError, match="names no stream"):
        split_stream(parse_rtmp_url("rtmp://h.example/app?key=k"))
