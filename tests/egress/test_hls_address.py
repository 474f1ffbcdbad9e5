"""Where files go: the key in its place, names behind it, and no key where people look."""

import pytest

from relay.egress.hls_address import shown, upload_url, without_key
from relay.egress.platforms import PLATFORMS
from relay.errors import DestinationError

YOUTUBE = "https://a.upload.youtube.com/http_upload_hls?cid={key}&copy=0&file="

# url, key: address of the file "a-1.ts"; what is shown
ADDRESSES = [
    (YOUTUBE, "ab-cd", "https://a.upload.youtube.com/http_upload_hls?cid=ab-cd&copy=0&file=a-1.ts"),
    ("https://h/up", "k", "https://h/up/k/a-1.ts"),
    ("https://h/up/", "k", "https://h/up/k/a-1.ts"),
    ("http://h:8080/{key}/live", "k", "http://h:8080/k/live/a-1.ts"),
    ("https://h/up?token={key}", "k", "https://h/up/a-1.ts?token=k"),
    ("https://h/up?{key}", "a=1&file=", "https://h/up?a=1&file=a-1.ts"),
    ("https://h/up?x=1", "k", "https://h/up/k/a-1.ts?x=1"),
    ("https://h/up?x=1#there", "a#b?c=d", "https://h/up/a%23b/a-1.ts?c=d?x=1"),
    ("https://h", "", "https://h/a-1.ts"),
    ("https://[2001:db8::1]/up/", "", "https://[2001:db8::1]/up/a-1.ts"),
]


@pytest.mark.parametrize(("url", "key", "address"), ADDRESSES)
def test_names_and_keys_are_put_in_their_place(url: str, key: str, address: str) -> None:
    assert str(upload_url(url, key, "a-1.ts")) == address


# a URL as people paste it: what is kept of it, and the key
WHOLE = [
    ("https://a.upload.youtube.com/http_upload_hls?cid=ab-cd&copy=0&file=",
     "https://a.upload.youtube.com/http_upload_hls?{key}", "cid=ab-cd&copy=0&file="),
    ("https://h/up/secret", "https://h/up/{key}", "secret"),
    ("https://h/up/secret/", "https://h/up/{key}", "secret"),
    ("https://h/secret", "https://h/{key}", "secret"),
    ("https://h/{key}/x", "https://h/{key}/x", ""),
    ("https://h/", "https://h/", ""),
    ("https://h", "https://h", ""),
]  # fmt: skip


@pytest.mark.parametrize(("url", "kept", "key"), WHOLE)
def test_a_whole_url_brings_its_key_along(url: str, kept: str, key: str) -> None:
    assert without_key(url) == (kept, key)
    if "{key}" not in url:
        assert upload_url(*without_key(url), "a.ts") == upload_url(url, "", "a.ts")
        assert not key or key not in shown(kept)


@pytest.mark.parametrize(
    "url",
    [
        "rtmp://h/a",
        "https://",
        "https://user:secret@h/up",
        "https://h:x/up",
        "file:///etc/passwd",
        "h/up",
        "https://h/a\0",
        "https://h/a b",
    ],
)
def test_what_cannot_be_dialled_says_so_without_the_key(url: str) -> None:
    with pytest.raises(DestinationError) as caught:
        upload_url(url, "the-key", "a.ts")
    assert caught.value.outcome == "config"
    assert "the-key" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_neither_query_nor_user_is_shown() -> None:
    assert shown(YOUTUBE) == "https://a.upload.youtube.com/http_upload_hls"
    assert shown("https://user:secret@h/up/{key}#x") == "https://h/up/{key}"
    assert shown("nonsense") == ""


def test_both_places_of_the_preset_have_the_same_key() -> None:
    row = PLATFORMS["youtube-hls"]
    first, second = (upload_url(url, "k", "index.m3u8") for url in (row.url, row.backup_url))
    assert first.query == {"cid": "k", "copy": "0", "file": "index.m3u8"}
    assert second.query == {"cid": "k", "copy": "1", "file": "index.m3u8"}
    assert first.host != second.host
