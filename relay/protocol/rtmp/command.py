"""RTMP commands (§7.2): AMF0 lists of name, transaction, object and arguments; and the answers both sides build."""

from collections.abc import Mapping
from dataclasses import dataclass

from relay.errors import ProtocolError
from relay.protocol.amf0 import AmfLimits, AmfValue, decode, encode, number
from relay.protocol.rtmp.message import MessageType

# Enhanced RTMP v2, "fourCcList": every codec the relay carries beyond classic FLV's.
FOURCCS = ("hvc1", "av01", "vp09", "vp08", "avc1", "Opus", "mp4a", ".mp3", "ac-3", "ec-3", "fLaC")
_VIDEO_FOURCCS = FOURCCS[:5]
_AUDIO_FOURCCS = FOURCCS[5:]
CAN_FORWARD = 4  # Enhanced RTMP v2, FourCcInfoMask.CanForward
CAPS_MULTITRACK, CAPS_MODEX = 0x02, 0x04  # Enhanced RTMP v2, CapsExMask


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it arrived. ``arguments`` follow the command object."""

    name: str
    transaction: float
    properties: AmfValue
    arguments: tuple[AmfValue, ...]

    def text(self, index: int, default: str = "") -> str:
        """Argument ``index`` if it is a string."""
        value = self.arguments[index] if index < len(self.arguments) else None
        return value if isinstance(value, str) else default

    def number(self, index: int, default: float = 0.0) -> float:
        """Argument ``index`` if it is a finite number."""
        return number(self.arguments[index], default) if index < len(self.arguments) else default


def read_command(type_id: int, payload: bytes, limits: AmfLimits) -> Command:
    """A command message of type 20, or 17 (AMF3) whose values are AMF0 behind one zero byte, as encoders send it.

    Raises ProtocolError or LimitError.
    """
    if type_id == MessageType.COMMAND_AMF3:
        payload = payload[1:] if payload[:1] == b"\0" else payload
    values = decode(payload, limits)
    if not values or not isinstance(values[0], str):
        raise ProtocolError("command without a name")
    return Command(
        name=values[0],
        transaction=number(values[1]) if len(values) > 1 else 0.0,
        properties=values[2] if len(values) > 2 else None,
        arguments=tuple(values[3:]),
    )


def status(level: str, code: str, description: str) -> bytes:
    """The payload of onStatus (§7.2.2)."""
    return encode("onStatus", 0, None, {"level": level, "code": code, "description": description})


def fourccs_of(properties: Mapping[str, AmfValue]) -> tuple[str, ...]:
    """What codecs a connect says the client can do: Enhanced RTMP v1's list, v2's maps, or none."""
    found: list[str] = []
    listed = properties.get("fourCcList")
    if isinstance(listed, list):
        found += [item for item in listed if isinstance(item, str)]
    for name in ("videoFourCcInfoMap", "audioFourCcInfoMap"):
        mapped = properties.get(name)
        if isinstance(mapped, Mapping):
            found += list(mapped)
    return tuple(dict.fromkeys(found))


def enhanced_fields(*, full: bool) -> dict[str, AmfValue]:
    """Our Enhanced RTMP fields for connect or its result; ``full``: version 2's as well as version 1's."""
    fields: dict[str, AmfValue] = {"fourCcList": list(FOURCCS)}
    if full:
        fields["videoFourCcInfoMap"] = dict.fromkeys(_VIDEO_FOURCCS, CAN_FORWARD)
        fields["audioFourCcInfoMap"] = dict.fromkeys(_AUDIO_FOURCCS, CAN_FORWARD)
        fields["capsEx"] = CAPS_MULTITRACK | CAPS_MODEX
    return fields
