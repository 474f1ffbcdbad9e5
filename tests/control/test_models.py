"""The API's models: strict where people send, and the example of a document is one."""

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from relay.control import models
from relay.control.destinations import prepared
from relay.control.models import Document, NewDestination
from relay.control.token import NewTokenView
from relay.control.users import NewUser, UserChange
from relay.control.webhooks import NewWebhook
from relay.egress.platforms import PLATFORMS


def test_unknown_fields_and_platforms_are_refused() -> None:
    with pytest.raises(ValidationError):
        NewDestination.model_validate({"name": "a", "nmae": "b"})
    with pytest.raises(ValidationError, match="youtube"):
        NewDestination(name="a", platform="tube")


def test_the_example_of_a_document_is_one() -> None:
    text = (Path(__file__).parents[2] / "deploy" / "channels.example.toml").read_text("utf-8")
    document = Document.model_validate(tomllib.loads(text))
    assert [len(prepared(channel.destinations)) for channel in document.channels] == [5, 0]
    opened = Document.model_validate(tomllib.loads(text.replace("# stream_key", "stream_key")))
    assert opened.channels[0].stream_key
    assert all(name in text for name in PLATFORMS)


def test_no_secret_is_in_the_repr_of_what_is_sent_or_answered() -> None:
    """It ends up in the words of errors that nobody expected."""
    key = "a-secret-that-is-long-enough"
    url = f"https://u:{key}@h.example/x"
    made = [
        models.NewChannel(
            name="x",
            stream_key=key,
            source=models.SourceOptions(url="https://h.example/", headers={"Authorization": key}),
            destinations=[models.NewDestination(name="d", url=f"rtmp://h/a?{key}", key=key, backup=f"http://h/{key}")],
        ),
        models.ChannelChange(stream_key=key, source=models.SourceOptions(url=url)),
        models.DestinationChange(url=f"rtmp://h/a?{key}", key=key, backup=f"http://h/{key}"),
        NewWebhook(url=url, secret=key),
        NewUser(name="x", role="viewer", password=key),
        UserChange(password=key),
        NewTokenView(token=key, file="x"),
    ]
    assert [repr(item) for item in made if key in repr(item)] == []
    hidden = {"stream_key", "read_key", "hls_publish_url"}
    assert {name for name, field in models.ChannelView.model_fields.items() if not field.repr} == hidden
