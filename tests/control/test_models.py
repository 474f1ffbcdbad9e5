"""The API's models: strict where people send, and the example of a document is one."""

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from relay.control.destinations import prepared
from relay.control.models import Document, NewDestination
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
