"""Event: one fact worth telling, as JSON, and its signature."""

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from types import MappingProxyType

from relay.secret import Secret

EVENTS = MappingProxyType(
    {
        "channel.live": "media arrives, a stream begins",
        "channel.holding": "no media any more; destinations are kept while the publisher is away",
        "channel.resumed": "media is back after a hold",
        "channel.offline": "the stream is over",
        "destination.failed": "a destination does not get through; it is tried again",
        "destination.recovered": "a destination that had failed is live",
        "recording.gap": "time is missing from a recording",
        "archive.at_risk": "what is recorded does not get to the store, or the spool's disk is nearly full",
        "archive.safe": "the archive is well again",
        "ping": "a test",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """``at``: unix seconds; ``channel`` None: of the whole relay; ``data``: what there is to say, by names."""

    id: str
    name: str
    at: float
    channel: str | None = None
    data: dict[str, object] = field(default_factory=dict)

    def body(self) -> bytes:
        """As it is sent."""
        values = {
            "id": self.id,
            "event": self.name,
            "at": round(self.at, 3),
            "channel": self.channel,
            "data": self.data,
        }
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def signature(secret: Secret, at: int, body: bytes) -> str:
    """The header Relay-Signature: ``t=UNIX_SECONDS,v1=HEX``, an HMAC-SHA256 of ``UNIX_SECONDS.BODY``.

    The time is that of the attempt: a receiver that refuses old ones cannot be sent a copy later.
    """
    key = secret.reveal().encode()
    return f"t={at},v1={hmac.new(key, b'%d.%b' % (at, body), hashlib.sha256).hexdigest()}"
