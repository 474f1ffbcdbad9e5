"""The tables the code relies on."""

from relay.database.schema import metadata


def test_keys_are_only_ever_columns_of_bytes() -> None:
    secret = [
        column
        for table in metadata.tables.values()
        for column in table.columns
        if column.name in {"key", "stream_key", "read_key"}
    ]
    assert len(secret) == 3
    assert {column.type.python_type for column in secret} == {bytes}
