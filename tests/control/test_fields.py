"""The fields of what people send: strict, never a path or a script in a name, and told apart in words."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from relay.control.fields import explain
from relay.control.models import NewChannel, NewDestination

PROMISED = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@given(st.text(max_size=70) | st.from_regex(PROMISED, fullmatch=True))
def test_names_are_those_promised_and_no_others(name: str) -> None:
    try:
        accepted = NewChannel(name=name).name == name
    except ValidationError:
        accepted = False
    assert accepted == bool(PROMISED.fullmatch(name))


@pytest.mark.parametrize("name", ["../x", "a/b", "a\0", "a\n", "<b>", "$(id)", "", "-a", "_a", "A", "a" * 64, "é"])
def test_names_that_hurt_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        NewDestination(name=name)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://u:p@h/a",
        "http://h/a\x00",
        "ftp://h/a",
        "file:///etc/passwd",
        "rtmp://",
        "rtmp://u:p@h/a",
        "rtmp://h/a\x00",
    ],
)
def test_urls_of_other_kinds_are_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        NewDestination(name="a", url=url)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "Upper", "name: write lower-case letters"),
        ("key", "a b", "key: write it without spaces"),
        ("url", "ftp://secret-sent.example/a", "url: "),
        ("url", "http://secret-sent@h/a", "url: a user name"),
        ("method", "secret-sent", "method: "),
        ("backup", "rtmp://secret-sent/a", "backup"),
        ("platform", "tube", "platform: unknown platform; one of youtube"),
        ("nmae", "secret-sent", "nmae: "),
    ],
)
def test_what_is_wrong_is_said_without_what_was_sent(field: str, value: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        NewDestination.model_validate({"name": "d", field: value})
    said = explain(caught.value)
    assert words in said
    assert "secret-sent" not in said
    assert "\n" not in said
