"""Reading damaged bytes: a parser gives a value or a ProtocolError, and nothing else comes out of it."""

from collections.abc import Callable
from typing import TypeVar

from relay.errors import ProtocolError

T = TypeVar("T")


def value_or_error(read: Callable[..., T], *given: object) -> T | ProtocolError:
    """What ``read(*given)`` returns, or the ProtocolError it raises. Every other error fails the test."""
    try:
        return read(*given)
    except ProtocolError as error:
        return error
