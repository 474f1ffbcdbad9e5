"""RtmpFeed: turns a stream's batches into RTMP bytes for one peer, sharing them with every peer like it."""

from collections.abc import Callable, Mapping

from relay.hub.batch import Batch, Tracks
from relay.media import Packet
from relay.protocol.rtmp.media import encode_batch, header_messages, metadata_message


class RtmpFeed:
    """Writes metadata, sequence headers and a keyframe first; then shared bytes, one write a batch.

    ``stream_id`` is the peer's message stream, ``chunk_size`` ours towards it, both as negotiated.
    """

    __slots__ = (
        "_chunk_size",
        "_key",
        "_publishing",
        "_seen",
        "_started",
        "_stream_id",
        "_write",
        "metadata",
    )

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        chunk_size: int,
        stream_id: int,
        publishing: bool,
        metadata: Mapping[str, object],
    ) -> None:
        self._write = write
        self._chunk_size = chunk_size
        self._stream_id = stream_id
        self._publishing = publishing
        self.metadata = metadata
        self._key = ("rtmp", chunk_size, stream_id)
        self._started = False
        self._seen: Tracks = (None, None)

    def take(self, batch: Batch) -> None:
        """Write one batch, with whatever headers the peer still lacks in front."""
        first: Packet = batch.packets[0]
        data = b""
        if not self._started:
            self._started = True
            data = metadata_message(
                self.metadata,
                batch.closing,
                self._chunk_size,
                self._stream_id,
                publishing=self._publishing,
                dts_ms=first.dts_ms,
            )
        video, audio = batch.opening
        seen_video, seen_audio = self._seen
        if video is not seen_video or audio is not seen_audio:
            missing = (
                None if video is seen_video else video,
                None if audio is seen_audio else audio,
            )
            data += header_messages(missing, first.dts_ms, self._chunk_size, self._stream_id)
        encoded = batch.shared(self._key, self._encoded)
        if data:
            encoded = data + encoded
        self._seen = batch.closing
        self._write(encoded)

    def _encoded(self, batch: Batch) -> bytes:
        return encode_batch(batch.packets, batch.opening, self._chunk_size, self._stream_id)
