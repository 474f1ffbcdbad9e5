"""HLS push door: what encoders upload and how, who may, what is refused in words, and what a cut upload leaves."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from relay.app import App
from relay.errors import ConfigError
from relay.hub import StreamState
from tests.ingest import segments
from tests.ingest.keeping import until
from tests.ingest.segments import AAC, AUDIO, H264, VIDEO, Piece
from tests.support.app import running_app
from tests.support.tls import make_certificates


class Answer(NamedTuple):
    """What the door said."""

    status: int
    text: str
    headers: dict[str, str]


class Uploader:
    """A client with the key of one app's demo channel."""

    def __init__(self, app: App, session: aiohttp.ClientSession) -> None:
        self.app = app
        self.key = app.control.channel("demo").stream_key
        self.base = f"http://127.0.0.1:{app.hls.port}/ingest/hls"
        self._session = session

    async def ask(self, method: str, url: str, data: object = None, **headers: str) -> Answer:
        async with self._session.request(
            method, url, data=data, headers=headers, skip_auto_headers=["User-Agent"]
        ) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def put(self, name: str, data: object, method: str = "PUT", **headers: str) -> Answer:
        return await self.ask(method, f"{self.base}/{self.key}/{name}", data, **headers)

    @property
    def seq(self) -> int:
        return self.app.hub.stream("demo").seq


@asynccontextmanager
async def uploader(tmp_path: Path, **settings: object) -> AsyncIterator[Uploader]:
    settings = {"archive": {"store": "off"}, **settings}
    async with running_app(tmp_path / "data", **settings) as app, aiohttp.ClientSession() as session:
        yield Uploader(app, session)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Uploader]:
    async with uploader(tmp_path) as made:
        yield made


@pytest.fixture
def ts(tmp_path: Path) -> Sequence[Piece]:
    return segments.made(tmp_path / "made", *VIDEO, *AUDIO, *H264, *AAC)


@pytest.fixture
def fmp4(tmp_path: Path) -> Sequence[Piece]:
    return segments.made(tmp_path / "made", *VIDEO, *AUDIO, *H264, *AAC, kind="fmp4")


def playlist(names: Sequence[str], *, ended: bool = False, init: str = "") -> bytes:
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:1"]
    lines += [f'#EXT-X-MAP:URI="{init}"'] if init else []
    lines += [f"#EXTINF:1,\n{name}" for name in names]
    return ("\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else [])]) + "\n").encode()


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_segments_playlists_and_the_end(method: str, door: Uploader, ts: Sequence[Piece]) -> None:
    names = [piece.name for piece in ts[:3]]
    for number, piece in enumerate(ts[:3]):
        assert (await door.put(piece.name, piece.data, method)).status == 201
        assert (await door.put(piece.name, piece.data, method)).status == 200, "known already"
        assert (await door.put("index.m3u8", playlist(names[: number + 1]), method)).status == 200
    assert (await door.ask("DELETE", f"{door.base}/{door.key}/{names[0]}")).status == 200
    stream = door.app.hub.stream("demo")
    assert stream.state is StreamState.LIVE
    info = door.app.links.publisher("demo")
    assert info is not None
    assert (info.protocol, info.address) == ("hls", "127.0.0.1")
    assert info.bytes_received >= 2 * sum(len(piece.data) for piece in ts[:3])
    assert door.app.links.bytes_received["demo"] == info.bytes_received
    assert (await door.put("index.m3u8", playlist(names, ended=True), method)).status == 200
    await until(lambda: stream.state is StreamState.OFFLINE)
    assert stream.ended_cleanly
    assert stream.stats.video_packets == 90, "the end waits until all is shown"
    stats = door.app.hls.stats
    assert (stats.segments["stored"], stats.segments["known"]) == (3, 3)
    assert door.app.admission.outcomes["demo", "accepted"] == 1, "requests are no publishers"


async def test_the_end_before_the_last_segment(door: Uploader, ts: Sequence[Piece]) -> None:
    names = [piece.name for piece in ts[:2]]
    await door.put(names[0], ts[0].data)
    await door.put("index.m3u8", playlist(names, ended=True))
    await asyncio.sleep(0.6)
    assert door.app.hub.stream("demo").state is StreamState.LIVE
    assert (await door.put(names[1], ts[1].data)).status == 201
    await until(lambda: door.app.hub.stream("demo").state is StreamState.OFFLINE)
    assert door.app.hub.stream("demo").stats.video_packets == 60
    # The end of that run, sent again while the next one is live, is not its end.
    for number, piece in enumerate(ts[2:]):
        await door.put(f"other{number}.ts", piece.data)
    await door.put("index.m3u8", playlist(["other0.ts"], ended=True))
    await asyncio.sleep(0.8)
    assert door.app.links.publisher("demo") is not None


async def test_fmp4_with_its_init_segment_before_behind_and_at_the_same_time(
    door: Uploader, fmp4: Sequence[Piece]
) -> None:
    early = asyncio.create_task(door.put(fmp4[0].name, fmp4[0].data))
    await asyncio.sleep(0.2)
    assert not early.done()
    assert (await door.put("init.mp4", fmp4[0].init)).status == 201
    assert (await early).status == 201
    for piece in fmp4[1:3]:
        assert (await door.put(piece.name, piece.data)).status == 201
    assert (await door.put(fmp4[3].name, fmp4[3].init + fmp4[3].data)).status == 201, "with its own before it"
    assert door.seq > 300


async def test_a_track_as_one_endless_body(door: Uploader, fmp4: Sequence[Piece]) -> None:
    sent: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while data := await sent.get():
            yield data

    sent.put_nowait(fmp4[0].init)
    posting = asyncio.create_task(door.put("live.cmfv", body(), "POST"))
    for number, piece in enumerate(fmp4[:3]):
        sent.put_nowait(piece.data)
        await until(lambda seen=number: door.app.hls.stats.segments["stored"] == seen + 1)  # type: ignore[misc]
    assert not posting.done()
    sent.put_nowait(b"\0\0\0\x08mfra")
    sent.put_nowait(b"")
    assert (await posting).status == 201
    stream = door.app.hub.stream("demo")
    await until(lambda: stream.state is StreamState.OFFLINE)
    assert stream.ended_cleanly
    assert stream.stats.video_packets == 90


async def test_an_endless_body_that_makes_no_sense(door: Uploader, fmp4: Sequence[Piece]) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield fmp4[0].init + fmp4[0].data
        yield b"\0\0\0\2junk"

    answer = await door.put("live.cmfv", body(), "POST")
    assert (answer.status, "is not possible in a stream" in answer.text) == (422, True)


async def test_an_init_segment_that_never_comes(tmp_path: Path, fmp4: Sequence[Piece]) -> None:
    async with uploader(tmp_path, limits={"hls_window_s": 0.2}) as door:
        answer = await door.put(fmp4[0].name, fmp4[0].data)
        assert (answer.status, answer.text) == (409, "upload the init segment before the segments that need it\n")
        assert door.seq == 0


async def test_init_segments_outlive_the_relay(tmp_path: Path, fmp4: Sequence[Piece]) -> None:
    async with uploader(tmp_path) as door:
        await door.put("init.mp4", fmp4[0].init)
        await door.put(fmp4[0].name, fmp4[0].data)
    async with uploader(tmp_path) as door:
        assert (await door.put(fmp4[1].name, fmp4[1].data)).status == 201
        await door.app.control.delete_channel("demo")
        await until(lambda: not list((tmp_path / "data" / "ingest").iterdir()))


async def test_other_ways_to_write_the_address(door: Uploader, ts: Sequence[Piece]) -> None:
    key, base = door.key, door.base
    for number, url in enumerate(
        (
            f"{base}?cid={key}&copy=0&file=seg0.ts",
            f"{base}/{key}?file=seg1.ts",
            f"{base}/{key}/seg2.ts?copy=0",
            f"{base}/?cid={key}&file=%73eg3.ts",
        )
    ):
        assert (await door.ask("PUT", url, ts[number].data)).status == 201, url
    assert door.app.hub.stream("demo").stats.publishers == 1


async def test_chunked_uploads_that_ask_before_they_send(door: Uploader, ts: Sequence[Piece]) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        data = ts[0].data
        for at in range(0, len(data), 5000):
            yield data[at : at + 5000]
            await asyncio.sleep(0.001)

    assert (await door.put(ts[0].name, slowly(), Expect="100-continue")).status == 201


NAMES = [
    "../../etc/passwd1.ts",
    "..%2f..%2fx2.ts",
    "a%00b3.ts",
    "x" * 1100 + "4.ts",
    "%0d%0aSet-Cookie:x5.ts",
    "<script>6.ts",
]


async def test_names_are_only_names(door: Uploader, ts: Sequence[Piece], tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if "made" not in path.parts}
    statuses = []
    for name in NAMES:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.app.hls.port)
        data = ts[0].data
        head = f"PUT /ingest/hls/{door.key}/{name} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        statuses.append(int((await reader.readline()).split()[1]))
        writer.close()
        door.app.hub.end("demo")
    assert statuses == [201, 201, 400, 400, 400, 201]
    after = {path for path in tmp_path.rglob("*") if "made" not in path.parts}
    assert {path.name for path in after - before} <= {"relay.db-wal", "relay.db-shm"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "data", "status", "words"),
    [
        ("GET", "{key}/a.ts", {}, None, 405, "with PUT or POST"),
        ("HEAD", "{key}/a.ts", {}, None, 405, ""),
        ("PUT", "wrong/a.ts", {}, b"x", 403, "wrong key"),
        ("PUT", "?file=a.ts", {}, b"x", 403, "no stream key"),
        ("PUT", "{key}", {}, b"x", 400, "name the segment"),
        ("PUT", "{key}/a.ts", {"Content-Encoding": "gzip"}, b"x", 415, "uncompressed"),
        ("PUT", "{key}/a.ts", {}, b"hello", 422, "neither MPEG-TS nor fragmented MP4"),
        ("PUT", "{key}/a.ts", {}, b"", 422, "neither MPEG-TS nor fragmented MP4"),
        ("PUT", "{key}/a.mp4", {}, b"\0\0\0\x10ftypiso5\0\0\0\0\xff\xff\xff\xffmoof", 422, "does not fit"),
        ("PUT", "{key}/a.ts", {}, b"x" * 70_000, 413, "65536 are allowed"),
        ("PUT", "{key}/a.m3u8", {}, b"<html>", 422, "does not begin with #EXTM3U"),
        ("PUT", "{key}/a.m3u8", {}, b"#EXTM3U\n" + b"#" * 5000, 413, "a playlist of"),
        ("PUT", "{key}/a.m3u8", {}, b"#EXTM3U\n#EXTINF:x\n", 200, ""),
        ("PUT", "{key}/a.mpd", {}, b"<MPD/>", 200, ""),
    ],
)  # fmt: skip
async def test_what_is_refused(
    method: str, path: str, headers: dict[str, str], data: bytes | None, status: int, words: str, tmp_path: Path
) -> None:
    async with uploader(tmp_path, limits={"hls_segment_bytes": 65536, "hls_playlist_bytes": 4096}) as door:
        answer = await door.ask(method, f"{door.base}/{path.format(key=door.key)}", data, **headers)
        assert answer.status == status
        assert words in answer.text
        assert door.app.hub.lease("demo") is None


async def test_guessing_keys_is_slowed_down(tmp_path: Path) -> None:
    async with uploader(tmp_path, limits={"auth_failures_per_minute": 3}) as door:
        statuses = [(await door.ask("PUT", f"{door.base}/guess{number}/a.ts", b"x")).status for number in range(4)]
        assert statuses == [403, 403, 403, 429]
        assert door.app.admission.outcomes["unknown", "bad_key"] == 3


async def test_a_cut_upload_leaves_nothing(door: Uploader, ts: Sequence[Piece]) -> None:
    data = ts[0].data
    for cut in (0, 1000, len(data) - 1):
        _, writer = await asyncio.open_connection("127.0.0.1", door.app.hls.port)
        head = f"PUT /ingest/hls/{door.key}/{ts[0].name} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data[:cut])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
    await until(lambda: door.app.hls.stats.segments["cut"] == 3)
    assert door.seq == 0
    assert (await door.put(ts[0].name, data)).status == 201


async def test_an_upload_that_stands_still(tmp_path: Path) -> None:
    async with uploader(tmp_path, limits={"media_closed_s": 0.3}) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.app.hls.port)
        writer.write(f"PUT /ingest/hls/{door.key}/a.ts HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx".encode())
        assert b" 408 " in await reader.readline()
        writer.close()


async def test_too_many_at_the_same_time(door: Uploader) -> None:
    writers = []
    for number in range(12):
        _, writer = await asyncio.open_connection("127.0.0.1", door.app.hls.port)
        writer.write(
            f"PUT /ingest/hls/{door.key}/{number}.ts HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n".encode()
        )
        writers.append(writer)
    await until(lambda: len(door.app.hls._channels["demo"].uploads) == 12 if door.app.hls._channels else False)
    answer = await door.put("x.ts", b"x")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    for writer in writers:
        writer.close()


async def test_a_changed_key_ends_the_publisher(door: Uploader, ts: Sequence[Piece]) -> None:
    await door.put(ts[0].name, ts[0].data)
    await door.app.control.rotate_key("demo")
    assert (await door.put(ts[1].name, ts[1].data)).status == 403
    assert door.app.hub.lease("demo") is None


@pytest.mark.parametrize("change", ["rotate_key", "delete_channel"])
async def test_what_is_under_way_with_a_key_that_opens_no_longer(
    change: str, door: Uploader, fmp4: Sequence[Piece]
) -> None:
    sent: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while data := await sent.get():
            yield data

    sent.put_nowait(fmp4[0].init + fmp4[0].data)
    posting = asyncio.create_task(door.put("live.cmfv", body(), "POST"))
    await until(lambda: door.app.hls.stats.segments["stored"] == 1)
    await getattr(door.app.control, change)("demo")
    sent.put_nowait(fmp4[1].data)
    sent.put_nowait(b"")
    answer = await posting
    assert (answer.status, "was changed" in answer.text) == (403, True)
    assert door.app.hub.lease("demo") is None
    assert door.app.hls.stats.segments["stored"] == 1
    await until(lambda: ("demo" in door.app.hub.streams) is (change == "rotate_key"))


async def test_with_a_certificate_and_on_a_taken_port(tmp_path: Path, ts: Sequence[Piece]) -> None:
    certificates = make_certificates(tmp_path / "tls")
    own = {"listen": "127.0.0.1:0", "tls_certificate": certificates.certificate, "tls_key": certificates.key}
    async with uploader(tmp_path, ingest_http=own) as door:
        door.base = door.base.replace("http://127.0.0.1", "https://localhost")
        url = f"{door.base}/{door.key}/{ts[0].name}"
        tls = certificates.client_context()
        async with aiohttp.ClientSession() as session, session.put(url, data=ts[0].data, ssl=tls) as answer:
            assert answer.status == 201
        info = door.app.links.publisher("demo")
        assert info is not None
        assert (info.protocol, info.encrypted) == ("hlss", True)
        assert door.app.control.channel("demo").hls_publish_url.startswith("https://")
        with pytest.raises(ConfigError, match="RELAY_INGEST_HTTP__LISTEN"):
            async with running_app(tmp_path / "other", ingest_http={"listen": f"127.0.0.1:{door.app.hls.port}"}):
                pass
    with pytest.raises(ConfigError, match=r"ingest_http\.tls_certificate"):
        async with running_app(tmp_path / "third", ingest_http={**own, "tls_certificate": tmp_path / "none.pem"}):
            pass
