"""The live heart: streams by name, who publishes them, who reads them.

Floor 2. A write is synchronous and never waits for a reader nor fails because of one. Deliberately without
sockets, files or protocols: doors (ingest, egress, archive) come to the hub, never the other way.
"""

from relay.hub.batch import Batch
from relay.hub.hub import Hub, Lease, Publisher, StreamListener
from relay.hub.load import Load
from relay.hub.stream import Stream, StreamState
from relay.hub.subscription import BacklogLimit, Reader, Subscription
from relay.hub.tick import Ticker

__all__ = [
    "BacklogLimit",
    "Batch",
    "Hub",
    "Lease",
    "Load",
    "Publisher",
    "Reader",
    "Stream",
    "StreamListener",
    "StreamState",
    "Subscription",
    "Ticker",
]
