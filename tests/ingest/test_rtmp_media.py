"""Messages to packets: runs as long as their order allows, whatever else is said between them."""

import pytest

from relay.errors import ProtocolError
from relay.ingest.rtmp_media import deliver
from relay.media import Packet
from relay.media.timeline import FileClock
from relay.protocol.flv import Depacketizer
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import Message

AAC = b"\xaf\x00\x11\x90"
BYE = events.Unpublished(1)


def audio(stamp: int, body: bytes = b"\xaf\x01frame") -> Message:
    return Message(8, 1, stamp, body, 0)


def run(received: list[events.Event]) -> list[object]:
    seen: list[object] = []

    def write(packets: list[Packet]) -> None:
        seen.append([packet.dts_ms for packet in packets])

    try:
        deliver(received, Depacketizer(FileClock()), write, seen.append)
    except ProtocolError:
        seen.append("broken")
    return seen


@pytest.mark.parametrize(
    ("received", "seen"),
    [
        ([], []),
        ([audio(0, AAC)], []),
        ([audio(0, AAC), audio(0), audio(21)], [[0, 21]]),
        ([audio(0, AAC), audio(0), BYE, audio(21)], [[0], BYE, [21]]),
        ([BYE], [BYE]),
        # What came whole before a broken message counts.
        ([audio(0, AAC), audio(0), audio(1, b"\xdf\x01x"), audio(21)], [[0], "broken"]),
    ],
)
def test_order_is_kept(received: list[events.Event], seen: list[object]) -> None:
    assert run(received) == seen
