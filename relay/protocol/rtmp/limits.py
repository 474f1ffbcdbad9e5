"""RtmpLimits: how much a peer may ask of the parsers."""

from dataclasses import dataclass, fields

from relay.config import LimitSettings
from relay.errors import LimitError
from relay.throttle import Purse


@dataclass(frozen=True, slots=True)
class RtmpLimits:
    """Bytes unless said otherwise. Announced sizes are checked at once; memory grows with received bytes only."""

    chunk_size_min: int = 128
    video_message_bytes: int = 4 * 1024 * 1024
    audio_message_bytes: int = 256 * 1024
    command_message_bytes: int = 64 * 1024
    chunk_streams: int = 64  # a count
    partial_bytes: int = 8 * 1024 * 1024
    pre_auth_bytes: int = 64 * 1024
    amf_depth: int = 16  # a count
    amf_nodes: int = 1024  # a count
    amf_string_bytes: int = 16 * 1024
    commands_per_s: float = 50.0
    commands_burst: int = 200  # a count
    answer_bytes_per_s: int = 64 * 1024  # of a server, media apart; no more at once

    def message_bytes(self, type_id: int) -> int:
        """The largest message of this type. An aggregate (22) carries audio and video, so video's limit holds."""
        if type_id in (9, 22):
            return self.video_message_bytes
        if type_id == 8:
            return self.audio_message_bytes
        return self.command_message_bytes


def rtmp_limits(settings: LimitSettings) -> RtmpLimits:
    """The parsers' limits, out of the settings'."""
    return RtmpLimits(**{item.name: getattr(settings, item.name) for item in fields(RtmpLimits)})


class Allowance:
    """How many messages that want an answer, or a look into them, a peer may still send."""

    __slots__ = ("_per_s", "_purse")

    def __init__(self, limits: RtmpLimits, now: float) -> None:
        self._per_s = limits.commands_per_s
        self._purse = Purse(limits.commands_burst, limits.commands_per_s, now)

    def spend(self, now: float) -> None:
        """One more of them. Raises LimitError."""
        if not self._purse.spend(now):
            raise LimitError("commands", f"more than {self._per_s:g} commands and control messages a second")
