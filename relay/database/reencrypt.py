"""Re-encrypting: every secret of the database, encrypted anew with the key of now, in one transaction."""

from typing import Any

import sqlalchemy as sa

from relay.database.channels import SEALED, SOURCE
from relay.database.crypto import Cipher
from relay.database.schema import channels, destinations, webhooks

_BINARY: tuple[tuple[sa.Table, tuple[str, ...]], ...] = (
    (channels, ("stream_key", "read_key")),
    (destinations, ("key",)),
    (webhooks, ("url", "secret")),
)
_IN_OPTIONS: tuple[tuple[sa.Table, str], ...] = ((channels, SOURCE), (destinations, SEALED))


def reencrypt(connection: sa.Connection, cipher: Cipher) -> int:
    """How many secrets were encrypted anew. Raises ConfigError, and nothing is changed, when one cannot be read."""
    count = 0
    for table, names in _BINARY:
        for row in connection.execute(sa.select(table)).mappings():
            values: dict[str, Any] = {name: cipher.encrypt(cipher.decrypt(row[name])) for name in names}
            count += len(values)
            for where, option in _IN_OPTIONS:
                if where is table and option in row["options"]:
                    again = cipher.encrypt(cipher.decrypt(row["options"][option].encode("ascii")))
                    values["options"] = {**row["options"], option: again.decode("ascii")}
                    count += 1
            keys = [column == row[column.name] for column in table.primary_key]
            connection.execute(sa.update(table).where(*keys).values(values))
    return count
