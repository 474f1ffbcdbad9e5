"""Phones: one process that publishes many channels, each packet at its own time: ``python -m tests.bench.phones JOB``.

JOB is a JSON file, see ``Job``. SIGTERM ends the sending, then the report is written and the connections are kept until
the process is killed, so that nothing of what was sent is lost by closing.
"""

import contextlib
import heapq
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from relay.protocol.rtmp.chunk import write_message
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.events import Established
from tests.bench import stamp
from tests.bench.figures import percentile
from tests.support.listing import SCRIPT, tags

CHUNK_BYTES = 4096  # what OBS and most phones set
_CSID = {stamp.VIDEO: 6, stamp.AUDIO: 4, SCRIPT: 5}
_HEAD_BYTES = 12  # of a chunk's header of type 0
_SOON_NS = 60_000  # nearer than this is not slept for
_READ_NS = 1_000_000_000


@dataclass(frozen=True)
class Job:
    """What to do: ``urls`` are (app, stream name) at ``port``, opened over ``ramp_s`` seconds.

    ``burst_ms``: media is held back and sent in bursts that far apart; 0: at once. ``keyframes_only`` makes publishers
    that cost next to nothing.
    """

    port: int
    urls: tuple[tuple[str, str], ...]
    clip: str
    report: str
    ramp_s: float
    burst_ms: int = 0
    keyframes_only: bool = False

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)), "utf-8")
        return path


class Message:
    """One tag as RTMP bytes, all but its times made beforehand. ``stamp_at`` is -1 where it carries no stamp."""

    def __init__(self, type_id: int, ms: int, body: bytes, *, stamped: bool) -> None:
        self.ms = ms
        if type_id == SCRIPT:
            body = b"\x02\x00\x0d@setDataFrame" + body
        if stamped:
            body = stamp.with_room(type_id, body)
        self.checksum = stamp.checksum(type_id, body) if stamped else 0
        self.stamp_at = _HEAD_BYTES + stamp.OFFSET[type_id] if stamped else -1
        written = write_message(type_id, 1, 0, body, chunk_size=CHUNK_BYTES, csid=_CSID[type_id])
        self.data = bytearray(written)


class Clip:
    """A clip, sent again and again: ``headers`` once, then ``media``, ``length_ms`` long."""

    def __init__(self, path: Path, *, keyframes_only: bool) -> None:
        self.headers: list[Message] = []
        self.media: list[Message] = []
        self.starts: list[int] = []  # where in media the keyframes are
        for type_id, ms, body in tags(path.read_bytes()):
            is_media = type_id != SCRIPT and body[1] == 1
            is_key = is_media and type_id == stamp.VIDEO and body[0] == 0x17
            if type_id == SCRIPT or body[1] == 0:
                self.headers.append(Message(type_id, 0, body, stamped=False))
            elif is_media and (is_key or not keyframes_only):
                if is_key:
                    self.starts.append(len(self.media))
                self.media.append(Message(type_id, ms, body, stamped=True))
        # Ends where the picture after the last keyframe interval would be: the loop has no seam in its keyframes.
        interval_ms = self.media[self.starts[1]].ms - self.media[self.starts[0]].ms
        self.length_ms = self.media[self.starts[-1]].ms + interval_ms - self.media[self.starts[0]].ms


class Phone:
    """One publisher's connection and its place in the clip."""

    def __init__(self, channel: int, clip: Clip, burst_ms: int) -> None:
        self.channel = channel
        self.sent = 0
        self.error = ""
        self._clip = clip
        self._burst_ns = burst_ms * 1_000_000
        self._at = clip.starts[channel % len(clip.starts)]
        self._offset_ms = -clip.media[self._at].ms  # from the clip's time to the stream's
        self._socket: socket.socket | None = None
        self._began_ns = 0
        self._unsent = b""
        self._read_ns = 0

    def open(self, port: int, app: str, name: str) -> float:
        """Connect and publish; seconds until that was accepted. Raises OSError where it was not."""
        started = time.monotonic()
        made = socket.create_connection(("127.0.0.1", port), timeout=30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = ClientConnection(
            app=app, tc_url=f"rtmp://127.0.0.1:{port}/{app}", stream_name=name, nonce=os.urandom(3072),
            now=started, chunk_size=CHUNK_BYTES,
        )  # fmt: skip
        made.sendall(connection.data_to_send())
        while True:
            data = made.recv(65536)
            if not data:
                raise ConnectionError("closed before it accepted")
            events = connection.receive(data, time.monotonic())
            made.sendall(connection.data_to_send())
            if any(isinstance(event, Established) for event in events):
                break
        took_s = time.monotonic() - started
        if connection.stream_id != 1:
            raise ConnectionError(f"message stream {connection.stream_id}, not 1")
        made.sendall(b"".join(message.data for message in self._clip.headers))
        made.setblocking(False)
        self._socket = made
        self._began_ns = time.monotonic_ns()
        return took_s

    def due_ns(self) -> int:
        due_ns = self._began_ns + (self._clip.media[self._at].ms + self._offset_ms) * 1_000_000
        if self._burst_ns:
            due_ns = self._began_ns - (self._began_ns - due_ns) // self._burst_ns * self._burst_ns
        return due_ns

    def send(self, now_ns: int) -> None:
        """The next packet. Raises OSError where the connection is gone."""
        message = self._clip.media[self._at]
        ms = message.ms + self._offset_ms
        data = message.data
        data[1:4] = ms.to_bytes(3, "big")
        stamp.write(data, message.stamp_at, stamp.Stamp(self.channel, self.sent, now_ns, message.checksum))
        self.sent += 1
        self._at += 1
        if self._at == len(self._clip.media) or self._clip.media[self._at].ms >= self._end_ms:
            self._at = 0
            self._offset_ms += self._clip.length_ms
        assert self._socket is not None
        pending = self._unsent + data if self._unsent else data
        try:
            written = self._socket.send(pending)
        except BlockingIOError:
            written = 0
        self._unsent = bytes(pending[written:]) if written < len(pending) else b""
        if now_ns - self._read_ns > _READ_NS:
            self._read_ns = now_ns
            self._read()

    @property
    def _end_ms(self) -> int:
        return self._clip.media[0].ms + self._clip.length_ms

    def _read(self) -> None:
        """Acknowledgements, which nobody looks at."""
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError):
            if not self._socket.recv(65536):
                raise ConnectionError("closed by the server")


class Crowd:
    """All phones: threads open them, one loop sends for all."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._clip = Clip(Path(job.clip), keyframes_only=job.keyframes_only)
        self._opened: queue.SimpleQueue[Phone] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._phones = [Phone(number, self._clip, job.burst_ms) for number in range(len(job.urls))]
        self._accepted_s: list[float] = []
        self._refused: list[str] = []
        self._late_ns = array("q")

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: self._stop.set())
        with ThreadPoolExecutor(64) as pool:
            began = time.monotonic()
            for number, phone in enumerate(self._phones):
                pool.submit(self._open, phone, began + self._job.ramp_s * number / len(self._phones))
            self._send()
        late = sorted(self._late_ns)
        report = {
            "sent": [phone.sent for phone in self._phones],
            "refused": self._refused,
            "broken": [f"{phone.channel}: {phone.error}" for phone in self._phones if phone.error],
            "accepted_s": sorted(self._accepted_s),
            "late_p99_ms": percentile(late, 0.99) / 1e6 if late else 0.0,
        }
        target = Path(self._job.report)
        partial = target.with_suffix(".part")
        partial.write_text(json.dumps(report), "utf-8")
        partial.replace(target)
        signal.pause()

    def _open(self, phone: Phone, at: float) -> None:
        time.sleep(max(0.0, at - time.monotonic()))
        try:
            self._accepted_s.append(phone.open(self._job.port, *self._job.urls[phone.channel]))
        except OSError as error:
            self._refused.append(f"{phone.channel}: {type(error).__name__}: {error}")
        else:
            self._opened.put(phone)

    def _send(self) -> None:
        heap: list[tuple[int, int]] = []
        clock = time.monotonic_ns
        while not self._stop.is_set():
            while not self._opened.empty():
                phone = self._opened.get()
                heapq.heappush(heap, (phone.due_ns(), phone.channel))
            if not heap:
                self._stop.wait(0.002)
                continue
            due_ns, channel = heap[0]
            now_ns = clock()
            if due_ns - now_ns > _SOON_NS:
                time.sleep(min(due_ns - now_ns, 2_000_000) / 1e9)
                continue
            phone = self._phones[channel]
            try:
                phone.send(now_ns)
            except OSError as error:
                phone.error = f"{type(error).__name__}: {error}"
                heapq.heappop(heap)
                continue
            self._late_ns.append(now_ns - due_ns)
            heapq.heapreplace(heap, (phone.due_ns(), channel))


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    Crowd(Job(**{**given, "urls": tuple(map(tuple, given["urls"]))})).run()
