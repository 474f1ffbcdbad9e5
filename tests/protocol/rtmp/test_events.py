"""Events are frozen values; media is the message itself."""

import dataclasses

import pytest

from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import Message


def test_events_compare_by_value_and_do_not_change() -> None:
    assert events.Unpublished(1) == events.Unpublished(1) != events.PlayStopped(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        events.Unpublished(1).stream_id = 2  # type: ignore[misc]


def test_every_event_class_is_in_the_union() -> None:
    classes = {value for value in vars(events).values() if dataclasses.is_dataclass(value)}
    assert classes | {Message} == set(events.Event.__args__)  # type: ignore[attr-defined]
