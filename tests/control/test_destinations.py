"""Destinations as people write them: the platform's address filled in, the key apart, what is missing named."""

import pytest

from relay.control.destinations import changed, config_of, prepared
from relay.control.models import DestinationChange, NewDestination
from relay.database import DestinationRow
from relay.egress.platforms import PLATFORMS
from relay.errors import InvalidError
from relay.secret import Secret


def one(**values: object) -> DestinationRow:
    (row,) = prepared([NewDestination.model_validate({"name": "d", **values})])
    return row


@pytest.mark.parametrize(
    ("written", "url", "key"),
    [
        ({"url": "rtmp://h.example/app", "key": "k"}, "rtmp://h.example/app", "k"),
        ({"url": "rtmp://h.example/app/name", "key": "k"}, "rtmp://h.example/app/name", "k"),
        ({"url": "rtmp://h.example/app/key"}, "rtmp://h.example/app", "key"),
        ({"url": "rtmp://h.example/app/instance/key"}, "rtmp://h.example/app/instance", "key"),
        ({"url": "rtmps://h.example:8443/app/key?token=a"}, "rtmps://h.example:8443/app", "key?token=a"),
        ({"url": "rtmp://[2001:db8::1]/app/key"}, "rtmp://[2001:db8::1]/app", "key"),
        ({"platform": "twitch", "key": "k"}, "rtmp://live.twitch.tv/app", "k"),
        ({"platform": "kick", "url": "rtmps://h.example/app", "key": "k"}, "rtmps://h.example/app", "k"),
        ({"url": "https://h.example/up/{key}", "key": "k"}, "https://h.example/up/{key}", "k"),
        ({"url": "https://h.example/up", "key": "k"}, "https://h.example/up", "k"),
        ({"url": "https://h.example/up/secret/"}, "https://h.example/up/{key}", "secret"),
        ({"url": "https://h.example/"}, "https://h.example/", ""),
        ({"url": "https://h.example/u?cid=s&file="}, "https://h.example/u?{key}", "cid=s&file="),
        (
            {"platform": "youtube-hls", "url": "https://h.example/u?cid=s&file="},
            "https://h.example/u?{key}",
            "cid=s&file=",
        ),
        ({"platform": "youtube-hls", "key": "k"}, PLATFORMS["youtube-hls"].url, "k"),
    ],
)
def test_url_and_key_come_apart(written: dict[str, object], url: str, key: str) -> None:
    row = one(**written)
    assert (row.url, row.key.reveal()) == (url, key)
    assert row.kind == ("hls" if url.startswith("http") else "rtmp")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "add the URL"),
        ({"url": "rtmp://h.example/app"}, "no stream key"),
        ({"platform": "kick", "key": "k"}, "add the URL"),
        ({"platform": "youtube"}, "needs a stream key"),
        ({"platform": "youtube-hls"}, "needs a stream key"),
        ({"url": "https://h.example/up?cid={key}&file="}, "no stream key"),
        ({"platform": "youtube", "url": "https://h.example/up", "key": "k"}, "platform youtube-hls"),
        ({"platform": "youtube-hls", "url": "rtmp://h.example/up", "key": "k"}, "does not take such a URL"),
        ({"platform": "twitch", "url": "https://h.example/up", "key": "k"}, "platform custom"),
        ({"platform": "twitch", "key": "k", "backup": True}, "for HLS destinations"),
        ({"url": "https://h.example/up", "key": "k", "backup": True}, "give its URL"),
        ({"url": "https://h.example/up", "key": "k", "backup": "https://b.example/up?cid=k"}, "write {key}"),
    ],
)
def test_what_is_missing_is_named(written: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        one(**written)


def test_what_is_for_hls_reaches_the_attempt() -> None:
    config = config_of(one(platform="youtube-hls", key="k", backup=True, method="POST"), 120)
    assert (config.kind, config.method, config.backup) == ("hls", "POST", PLATFORMS["youtube-hls"].backup_url)
    other = config_of(one(url="https://h.example/up", key="k", backup="https://b.example/up"), 120)
    assert (other.method, other.backup) == ("PUT", "https://b.example/up")
    assert config_of(one(url="rtmp://h.example/app", key="k"), 120).backup == ""


def test_an_hls_destination_changes_as_others_do() -> None:
    row = one(url="https://h.example/up/first")
    again = changed(row, DestinationChange(url="https://h.example/up/second"))
    assert (again.url, again.key) == ("https://h.example/up/{key}", Secret("second"))
    assert changed(row, DestinationChange(key="new")).key == Secret("new")
    moved = changed(row, DestinationChange(url="rtmp://h.example/app/third"))
    assert (moved.kind, moved.url, moved.key) == ("rtmp", "rtmp://h.example/app", Secret("third"))
    backed = changed(row, DestinationChange(backup="https://b.example/up/{key}", method="POST"))
    assert config_of(backed, 120).backup == "https://b.example/up/{key}"
    assert config_of(changed(backed, DestinationChange(backup=False)), 120).backup == ""
    with pytest.raises(InvalidError, match="for HLS"):
        changed(backed, DestinationChange(url="rtmp://h.example/app/third"))


def test_names_are_given_once() -> None:
    with pytest.raises(InvalidError, match="same name"):
        prepared([NewDestination(name="d", url="rtmp://h/a", key="k")] * 2)


def test_a_change_keeps_what_it_does_not_name() -> None:
    row = one(url="rtmp://h.example/app", key="k")
    assert changed(row, DestinationChange()) == row
    assert not changed(row, DestinationChange(enabled=False)).enabled
    assert changed(row, DestinationChange(key="new")).key == Secret("new")
    moved = changed(row, DestinationChange(url="rtmp://other.example/live/x"))
    assert (moved.url, moved.key) == ("rtmp://other.example/live/x", Secret("k"))


def test_a_new_url_brings_its_key_along_where_the_former_did() -> None:
    row = one(url="rtmp://h.example/app/first")
    again = changed(row, DestinationChange(url="rtmp://h.example/app/second"))
    assert (again.url, again.key) == ("rtmp://h.example/app", Secret("second"))
    kept = changed(row, DestinationChange(enabled=False))
    assert (kept.url, kept.key) == ("rtmp://h.example/app", Secret("first"))


def test_a_key_given_apart_later_is_no_longer_part_of_the_url() -> None:
    row = changed(one(url="rtmp://h.example/app/first"), DestinationChange(key="apart"))
    moved = changed(row, DestinationChange(url="rtmp://h.example/app/instance"))
    assert (moved.url, moved.key) == ("rtmp://h.example/app/instance", Secret("apart"))


def test_another_platform_brings_its_own_address() -> None:
    row = one(platform="twitch", key="k")
    assert changed(row, DestinationChange(platform="youtube")).url.startswith("rtmps://a.rtmps.youtube.com")
    with pytest.raises(InvalidError, match="add the URL"):
        changed(row, DestinationChange(platform="kick"))
