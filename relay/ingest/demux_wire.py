"""What the demuxer and its child put before what they send each other; apart, as the child's library is large."""

import struct

ASK = struct.Struct("!II")  # bytes of init segment, bytes of segment; they follow
ANSWER = struct.Struct("!II")  # bytes of JSON (Facts, or {"error": words}), bytes of FLV; they follow
