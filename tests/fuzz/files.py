"""Files of strangers and of crashes: playlists, and parts of the spool."""

import contextlib
import tempfile
from pathlib import Path

from relay.archive.spool import PartInfo, commit_tag, commits, part_header, read_info, read_part, recover
from relay.errors import ProtocolError, SpoolError
from relay.ingest.hls_playlist import read_playlist
from relay.protocol import flv, m3u8, m3u8_lines

INFO = PartInfo(
    recording="20260101-abcd", channel="demo", seq=1, base_ms=0, start_ms=0, recording_base_ms=0, first_seq=1,
    started_at=1.0, recording_started_at=1.0,
)  # fmt: skip
HEADER = part_header(INFO, (None, None))
_FOLDER = Path("/dev/shm")  # thousands of files a second: not on a disk where there is another place


def fuzz_m3u8(data: bytes) -> None:
    """A playlist that is pulled, and one that comes with uploads."""
    read_playlist("live/index.m3u8", data.decode("utf-8", "replace"))
    with contextlib.suppress(ProtocolError):
        found = m3u8.parse(data)
        if isinstance(found, m3u8.MediaPlaylist):
            assert found.target_s > 0
            assert all(0 <= segment.duration_s <= m3u8_lines.LONGEST_S for segment in found.segments)
            assert found.next_sequence <= m3u8.MOST_SEQUENCE
            assert found.part_target_s <= found.hold_back_s <= m3u8.HOLD_BACK_PARTS * m3u8_lines.LONGEST_S
            coming = () if found.coming is None else (found.coming,)
            for segment in (*found.segments, *coming):
                if segment not in coming:
                    _is_fetched(segment.uri)
                for part in segment.parts:
                    _is_fetched(part.uri)
                if segment.key is not None:
                    assert len(segment.key.iv) == 16
                    _is_fetched(segment.key.uri)
                if segment.init is not None:
                    _is_fetched(segment.init.uri)
            return
        chosen = found.best(1000)
        _is_fetched(chosen.uri)
        sound = found.sound_of(chosen)
        if sound is not None and sound.uri:
            _is_fetched(sound.uri)


def _is_fetched(uri: str) -> None:
    with contextlib.suppress(ProtocolError):
        assert m3u8.resolve("https://h.example/live/index.m3u8", uri).startswith(("http://", "https://"))


def fuzz_spool(data: bytes) -> None:
    """Byte 0: the rest is a whole file (0), or its tags (1), its first tag (2) or what follows that (3), sealed."""
    if not data:
        return
    body, mode = data[1:], data[0] % 4
    sealed = body
    if mode:
        if mode == 1:
            run = flv.file_header(has_video=True, has_audio=True) + body
        elif mode == 2:
            run = flv.file_header(has_video=True, has_audio=True) + flv.tag(flv.SCRIPT, 0, body)
        else:
            run = HEADER + body
        sealed = run + commit_tag(run, offset=len(run), seq=9, packets=9, timestamp=0)
    with tempfile.NamedTemporaryFile(dir=_FOLDER if _FOLDER.is_dir() else None, suffix=".flv") as file:
        file.write(sealed)
        file.flush()
        path = Path(file.name)
        read_info(path)
        ends = [commit.end for commit in commits(sealed)]
        assert ends == sorted(set(ends))
        assert recover(path) == (ends[-1] if ends else 0) <= len(sealed)
        try:
            part = read_part(path)
        except SpoolError:
            return
        assert (part is None) == (not ends)
        if part is not None:
            assert part.verified_length == ends[-1]
            assert sum(len(packet.data) for packet in part.packets) <= len(sealed)
            assert sum(note.packets for note in part.notes) <= len(part.packets)
