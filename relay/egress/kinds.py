"""The kinds of destination there are: what makes an attempt of each. A new kind is one row."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from relay.config import Settings
from relay.egress.base import Attempt, DestinationConfig, DestinationTotals, Owner
from relay.egress.hls import HlsAttempt
from relay.egress.rtmp import RtmpAttempt
from relay.hub import Stream
from relay.outbound.dial import TlsContext

Make = Callable[[DestinationConfig, Stream, Settings, DestinationTotals, Owner, TlsContext], Attempt]

KINDS: Mapping[str, Make] = MappingProxyType({"rtmp": RtmpAttempt, "hls": HlsAttempt})
