"""The read-back test finds the store that gives back other bytes than it was given."""

from pathlib import Path

import pytest

from relay.archive.objects import READ_BACK, check
from relay.archive.store import FileStore
from relay.errors import StoreError


class Garbling(FileStore):
    """Keeps what it does not understand within the object."""

    def put(self, key: str, data: bytes, content_type: str, *, replace: bool = True) -> None:
        super().put(key, data + b"x-amz-checksum-crc32:AAAAAA==", content_type, replace=replace)


def test_a_store_that_gives_back_what_it_was_given_passes(tmp_path: Path) -> None:
    check(FileStore(tmp_path))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_store_that_garbles_is_found_and_nothing_is_left(tmp_path: Path) -> None:
    store = Garbling(tmp_path)
    with pytest.raises(StoreError, match="4125 bytes that are not the 4096") as found:
        check(store)
    assert found.value.kind == "read_back"
    assert list(store.listed(READ_BACK)) == []
