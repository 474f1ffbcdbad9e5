"""Durable state: channels, destinations, keys, recordings and segments, in SQLite or PostgreSQL.

Floor 2, the only home of SQLAlchemy and alembic. ``engine`` runs every statement in one writer thread; ``channels``,
``recordings``, ``shares`` and ``webhooks`` are the sets of operations. Times are unix seconds (UTC, float); media times
are milliseconds on the stream's timeline. Deliberately without knowledge of sockets, media or the object store.
"""

from relay.database.channels import ChannelRow, ChannelsRepo, DestinationRow
from relay.database.engine import Database
from relay.database.recordings import GapRow, RecordingRow, RecordingsRepo, SegmentRow
from relay.database.shares import ShareRow, SharesRepo
from relay.database.webhooks import WebhookRow, WebhooksRepo

__all__ = [
    "ChannelRow",
    "ChannelsRepo",
    "Database",
    "DestinationRow",
    "GapRow",
    "RecordingRow",
    "RecordingsRepo",
    "SegmentRow",
    "ShareRow",
    "SharesRepo",
    "WebhookRow",
    "WebhooksRepo",
]
