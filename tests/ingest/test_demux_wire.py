"""What demuxer and child agree on, and that the relay needs no codec library for it."""

import subprocess
import sys

from relay.ingest.demux_wire import ANSWER, ASK


def test_both_headers_hold_two_lengths_of_up_to_four_gigabytes() -> None:
    for header in (ASK, ANSWER):
        assert header.unpack(header.pack(1, (1 << 32) - 1)) == (1, (1 << 32) - 1)


def test_a_relay_that_waits_for_its_first_stream_has_loaded_no_large_library() -> None:
    program = "import sys, relay.app; print([name for name in ('av', 'boto3', 'alembic') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
