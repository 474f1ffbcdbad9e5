"""The painter's child: one keyframe after the other on stdin, each as JPEG on stdout, and nothing else."""

import json
import signal
import sys
from typing import BinaryIO

import av

from relay.archive.painter import SIZES
from relay.archive.thumbnails import jpeg
from relay.errors import MediaError
from relay.media import Codec, Packet, Track

CPU_S = 5.0  # the largest picture there may be takes one


def answer(head: bytes, data: bytes) -> bytes:
    """The whole answer to one ask."""
    told = json.loads(head)
    header = bytes.fromhex(told["header"])
    track = Track(codec=Codec(told["codec"]), header=header, width=told["width"], height=told["height"])
    error = picture = b""
    try:
        picture = jpeg(Packet(track, 0, 0, told["is_keyframe"], data), width=told["at_most"])
    except MediaError as found:
        error = str(found).encode()
    return SIZES.pack(len(error), len(picture)) + error + picture


def serve(asks: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the other side closes."""
    while sizes := asks.read(SIZES.size):
        head, data = (asks.read(size) for size in SIZES.unpack(sizes))
        signal.setitimer(signal.ITIMER_PROF, CPU_S)  # ends this process, also when the relay that watches it is gone
        answers.write(answer(head, data))
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.flush()


def main() -> None:
    av.logging.set_level(None)
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
