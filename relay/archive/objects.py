"""Objects: what every store offers, and the test that shows whether one gives back what it was given."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from relay.errors import StoreError

READ_BACK = "relay-check/"
ORPHANED_AFTER_S = 86400.0
"""What an upload left half done is nobody's after this long, whoever else uses the same prefix."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store describes it: its size in bytes."""

    key: str
    size: int


class Store(Protocol):
    """Where recordings are safe. Keys look like ``channel/recording/name``. All methods raise StoreError."""

    where: str

    def put(self, key: str, data: bytes, content_type: str, *, replace: bool = True) -> None:
        """Store ``data``; returns when the store has it for good. Without ``replace``, what is there already stays."""

    def holds(self, key: str, data: bytes) -> bool:
        """Whether the store has exactly ``data`` under ``key``, by size and checksum."""

    def get(self, key: str) -> bytes:
        """The whole object. StoreError of kind ``absent`` where there is none."""

    def head(self, key: str) -> StoredObject | None:
        """What the store has under ``key``, or None."""

    def listed(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key begins with ``prefix``."""

    def delete(self, key: str) -> None:
        """Remove an object; none there is no error."""

    def clean_up(self) -> int:
        """Remove what broken uploads left behind longer than ORPHANED_AFTER_S ago; how many there were."""


def check(store: Store) -> None:
    """Write an object, read it back, delete it, compare. Raises StoreError that says what went wrong."""
    key = READ_BACK + os.urandom(8).hex()  # its own: relays may share a bucket
    data = os.urandom(4096)
    store.put(key, data, "application/octet-stream")
    read = store.get(key)
    store.delete(key)
    if read != data:
        raise StoreError(
            f"{store.where} gives back {len(read)} bytes that are not the {len(data)} written to it", "read_back"
        )
