"""A media playlist followed: pace, order, retries, what is lost, keys and init segments, and playlists that lie."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from relay.config import Settings
from relay.errors import DestinationError, DestinationRejectedError, MediaError
from relay.ingest.hls_fetch import Fetcher
from relay.ingest.hls_lane import Lane
from relay.ingest.hls_position import Position
from relay.ingest.segment import Segment
from relay.ingest.source import SourceConfig
from relay.outbound.dial import shared_tls
from relay.secret import Secret
from tests.ingest.pulling import until
from tests.ingest.test_hls_fetch import encrypted
from tests.support.origin import Origin, compressed, endless, origin, status

HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"


@dataclass
class Taken:
    """What was handed on (hls_lane.Taker)."""

    segments: list[Segment] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)
    restarts: int = 0
    unshown_ms: int = 0
    refuse: bool = False

    async def put(self, segment: Segment) -> None:
        if self.refuse:
            raise MediaError("the segment cannot be read: it is no media")
        self.segments.append(segment)

    def missing(self, numbers: Iterable[int], track: str) -> None:
        self.missed += numbers

    def restart(self) -> None:
        self.restarts += 1

    @property
    def numbers(self) -> list[int]:
        return [segment.number for segment in self.segments]


@pytest.fixture
async def site() -> AsyncIterator[Origin]:
    async with origin() as made:
        yield made


@contextlib.asynccontextmanager
async def lane(site: Origin, taken: Taken, path: str = "/live/index.m3u8", **limits: Any) -> AsyncIterator[Lane]:
    made = Settings.model_validate({"outbound": {"allow_private": True}, "limits": {"dial_s": 1, **limits}})
    config = SourceConfig(Secret(site.url))
    async with Fetcher(config, made, shared_tls(made), lambda _: None) as fetcher:
        yield Lane(f"{site.url}{path}", "pull", Position(), fetcher, taken, made.limits, "demo")


def listed(first: int, count: int, *, ended: bool = False, before: str = "", kind: str = "VOD") -> str:
    """A playlist of segments of a second; a VOD, to be taken whole, unless told otherwise."""
    text = HEAD + f"#EXT-X-MEDIA-SEQUENCE:{first}\n" + (f"#EXT-X-PLAYLIST-TYPE:{kind}\n" if kind else "")
    for number in range(first, first + count):
        text += f"{before}#EXTINF:1,\n{number}.ts\n"
    return text + "#EXT-X-ENDLIST\n" * ended


async def followed(site: Origin, taken: Taken, **limits: Any) -> None:
    async with lane(site, taken, **limits) as made, asyncio.timeout(20):
        await made.run()


async def test_a_playlist_is_followed_in_order_to_its_end(site: Origin) -> None:
    taken = Taken()
    site.files |= {f"/live/{number}.ts": f"data {number}" for number in range(9)}

    async def late(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response(body=b"data 1")

    site.files["/live/1.ts"] = late
    site.files["/live/index.m3u8"] = listed(0, 3, kind="")
    async with lane(site, taken) as made:
        following = asyncio.create_task(made.run())
        await until(lambda: taken.numbers == [0, 1, 2], "the first three")
        site.files["/live/index.m3u8"] = listed(2, 4, kind="")
        await until(lambda: taken.numbers == [0, 1, 2, 3, 4, 5], "those that follow")
        site.files["/live/index.m3u8"] = listed(2, 5, ended=True, kind="")
        await asyncio.wait_for(following, 10)
        assert taken.numbers == list(range(7))
        assert [item.data for item in taken.segments] == [f"data {number}".encode() for number in range(7)]
        assert (taken.segments[3].name, taken.segments[3].track) == ("pull/3", "pull/#")
        # Run again, it sees whether anything came since.
        await asyncio.wait_for(made.run(), 10)
        site.files["/live/index.m3u8"] = listed(2, 6, ended=True, kind="")
        await asyncio.wait_for(made.run(), 10)
    assert taken.numbers == list(range(8))
    assert taken.missed == []


async def test_what_left_the_window_and_what_is_a_gap_is_told(site: Origin) -> None:
    taken = Taken()
    site.files |= {f"/live/{number}.ts": "x" for number in range(20)}
    site.files["/live/index.m3u8"] = listed(0, 2, kind="")
    async with lane(site, taken) as made:
        following = asyncio.create_task(made.run())
        await until(lambda: taken.numbers == [0, 1], "the first")
        text = listed(5, 3, ended=True, kind="").replace("#EXTINF:1,\n6.ts", "#EXT-X-GAP\n#EXTINF:1,\n6.ts")
        site.files["/live/index.m3u8"] = text
        await asyncio.wait_for(following, 10)
    assert taken.numbers == [0, 1, 5, 7]
    assert taken.missed == [2, 3, 4, 6]
    assert "/live/6.ts" not in site.paths()


async def test_a_segment_is_tried_again_and_one_that_stays_away_is_missing(site: Origin) -> None:
    taken = Taken()
    tries = 0

    async def third_time(request: web.Request) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        return web.Response(body=b"at last") if tries == 3 else web.Response(status=503)

    site.files |= {"/live/0.ts": third_time, "/live/2.ts": "x", "/live/index.m3u8": listed(0, 3, ended=True)}
    await followed(site, taken)
    assert taken.numbers == [0, 2]
    assert taken.missed == [1]
    assert site.paths().count("/live/1.ts") == 3


async def test_keys_and_init_segments_are_fetched_once(site: Origin) -> None:
    taken = Taken()
    key, iv = bytes(range(16)), (7).to_bytes(16, "big")
    text = HEAD + '#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-KEY:METHOD=AES-128,URI="/key",IV=0x07\n#EXT-X-MAP:URI="init.mp4"\n'
    for number in range(3):
        site.files[f"/live/{number}.m4s"] = encrypted(f"part {number}".encode(), key, iv)
        text += f"#EXTINF:1,\n{number}.m4s\n"
    text += '#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI="all",BYTERANGE="4@6"\n'
    text += "#EXT-X-BYTERANGE:5@10\n#EXT-X-DISCONTINUITY\n#EXTINF:1,\nall\n#EXT-X-BYTERANGE:3\n#EXTINF:1,\nall\n"
    site.files |= {"/key": key, "/live/init.mp4": encrypted(b"init", key, iv), "/live/all": b"??????INITfirstend"}
    site.files["/live/index.m3u8"] = text + "#EXT-X-ENDLIST\n"
    await followed(site, taken)
    found = [(item.data, item.init, item.is_discontinuity) for item in taken.segments]
    assert found == [
        (b"part 0", b"init", False),
        (b"part 1", b"init", False),
        (b"part 2", b"init", False),
        (b"first", b"INIT", True),
        (b"end", b"INIT", False),
    ]
    assert site.paths().count("/key") <= 3
    assert site.paths().count("/live/init.mp4") <= 3


async def test_a_server_that_can_hold_its_answer_is_asked_for_what_comes_next(site: Origin) -> None:
    taken = Taken()
    site.files |= {f"/live/{number}.ts": "x" for number in range(9)}
    grown = asyncio.Event()
    now = 2

    async def playlist(request: web.Request) -> web.StreamResponse:
        if int(request.query.get("_HLS_msn", "0")) >= now:
            await grown.wait()
        return web.Response(text=listed(0, now, kind="", before="#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n"))

    site.files["/live/index.m3u8"] = playlist
    async with lane(site, taken) as made:
        following = asyncio.create_task(made.run())
        for count in range(2, 6):
            await until(lambda count=count: len(taken.segments) == count, "one more")  # type: ignore[misc]
            now = count + 1
            grown.set()
            grown.clear()
        following.cancel()
        await asyncio.wait([following])
    assert any(item.query == "_HLS_msn=3" for item in site.asked)


def part_list(first: int, count: int, parts: int) -> str:
    """``count`` segments of two parts each, and ``parts`` of the next."""
    text = HEAD + "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-PART-INF:PART-TARGET=0.5\n"
    text += f'#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI="init.mp4"\n'
    for number in range(first, first + count + 1):
        for part in range(2 if number < first + count else parts):
            text += f'#EXT-X-PART:DURATION=0.5,URI="{number}.{part}.m4s"{",INDEPENDENT=YES" * (not part)}\n'
        text += f"#EXTINF:1,\n{number}.m4s\n" if number < first + count else ""
    return text


async def test_parts_are_asked_for_and_handed_on_as_they_come(site: Origin) -> None:
    taken = Taken()
    site.files |= {f"/live/{number}.{part}.m4s": f"{number}.{part}" for number in range(9) for part in range(2)}
    site.files |= {f"/live/{number}.m4s": f"{number}" for number in range(9)} | {"/live/init.mp4": "init"}
    grown = asyncio.Event()
    now = (2, 1)

    async def playlist(request: web.Request) -> web.StreamResponse:
        asked = int(request.query.get("_HLS_msn", "0")), int(request.query.get("_HLS_part", "0"))
        if "_HLS_msn" in request.query and asked >= now:
            await grown.wait()
        return web.Response(text=part_list(0, *now))

    site.files["/live/index.m3u8"] = playlist
    wanted = ["1", "2.0", "2.1", "3.0", "3.1", "4.0"]
    async with lane(site, taken) as made:
        following = asyncio.create_task(made.run())
        for count, after in enumerate([(3, 0), (3, 1), (4, 0), (4, 1)], 2):
            await until(lambda count=count: len(taken.segments) == count, "one more")  # type: ignore[misc]
            now = after
            grown.set()
            grown.clear()
        await until(lambda: len(taken.segments) == len(wanted), "the last")
        following.cancel()
        await asyncio.wait([following])
    assert [segment.data.decode() for segment in taken.segments] == wanted
    assert taken.numbers == [128, 257, 258, 385, 386, 513]
    assert {segment.init for segment in taken.segments} == {b"init"}
    assert taken.segments[1].name == "pull-parts/257"
    assert {segment.track for segment in taken.segments} == {"pull-parts/#"}
    assert {"_HLS_msn=3&_HLS_part=1", "_HLS_msn=4&_HLS_part=0"} <= {item.query for item in site.asked}
    # Numbers that no segment has are not waited for; each that there was came.
    assert not set(taken.missed) & set(taken.numbers)
    assert set(range(259, 385)) <= set(taken.missed)


async def test_a_part_that_is_not_there_is_missing_alone(site: Origin) -> None:
    taken = Taken()
    site.files |= {f"/live/0.{part}.m4s": f"0.{part}" for part in (0, 2, 3)} | {"/live/init.mp4": "init"}
    site.files["/live/index.m3u8"] = part_list(0, 0, 4)
    async with lane(site, taken) as made:
        following = asyncio.create_task(made.run())
        await until(lambda: len(taken.segments) == 3, "all there is")
        following.cancel()
        await asyncio.wait([following])
    assert taken.numbers == [1, 3, 4]
    assert 2 in taken.missed


@pytest.mark.parametrize(("nbytes", "most"), [(100, 16 + 1), (20_000, 3 + 1)])
async def test_parts_do_not_wait_for_the_disk_one_by_one_but_only_so_many_and_so_much(
    site: Origin, nbytes: int, most: int
) -> None:
    """With segments of 64 KiB at most."""
    under_way = largest = 0
    opened = asyncio.Event()

    class Slow(Taken):
        async def put(self, segment: Segment) -> None:
            nonlocal under_way, largest
            under_way += 1
            largest = max(largest, under_way)
            await opened.wait()
            under_way -= 1
            await super().put(segment)

    taken = Slow()
    site.files |= {f"/live/0.{part}.m4s": "x" * nbytes for part in range(40)} | {"/live/init.mp4": "init"}
    site.files["/live/index.m3u8"] = part_list(0, 0, 40)
    async with lane(site, taken, hls_segment_bytes=65536) as made:
        following = asyncio.create_task(made.run())
        await until(lambda: under_way == most, "as many as may be")
        await asyncio.sleep(0.3)
        opened.set()
        await until(lambda: len(taken.segments) == 40, "all")
        following.cancel()
        await asyncio.wait([following])
    assert largest == most
    assert taken.numbers == list(range(1, 41))


async def test_what_can_wait_waits_until_it_can_be_shown(site: Origin) -> None:
    taken = Taken(unshown_ms=10_000)
    site.files |= {f"/live/{number}.ts": "x" for number in range(9)} | {"/live/index.m3u8": listed(0, 9, ended=True)}
    async with lane(site, taken) as made:
        following = asyncio.create_task(made.run())
        await until(lambda: "/live/2.ts" in site.paths(), "fetched ahead")
        await asyncio.sleep(0.5)
        assert taken.numbers == []
        assert "/live/3.ts" not in site.paths()
        taken.unshown_ms = 0
        await asyncio.wait_for(following, 10)
    assert taken.numbers == list(range(9))


async def test_a_source_that_counts_anew_is_told_before_its_first_segment(site: Origin) -> None:
    taken = Taken()
    site.files |= {f"/live/{number}.ts": "x" for number in range(200)}
    site.files["/live/index.m3u8"] = listed(100, 3, kind="")
    async with lane(site, taken) as made:
        following = asyncio.create_task(made.run())
        await until(lambda: len(taken.segments) == 3, "the first")
        site.files["/live/index.m3u8"] = listed(0, 1, kind="")
        await asyncio.sleep(1.2)
        assert len(taken.segments) == 3
        for count in range(2, 20):
            if taken.restarts:
                break
            site.files["/live/index.m3u8"] = listed(0, count, kind="")
            await asyncio.sleep(0.5)
        await until(lambda: len(taken.segments) > 3, "more")
        following.cancel()
        await asyncio.wait([following])
    assert taken.restarts == 1
    assert taken.numbers[3] < 20


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"/live/index.m3u8": HEAD + "#EXTINF:1,\nfile:///etc/passwd\n"}, "a file URI"),
        ({"/live/index.m3u8": HEAD + "#EXTINF:1e308,\n0.ts\n"}, "EXTINF is no duration"),
        ({"/live/index.m3u8": "<html>"}, "does not begin with #EXTM3U"),
        ({"/live/index.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nindex.m3u8\n"}, "list of variants again"),
        ({"/live/index.m3u8": endless(b"#EXTM3U\n" * 9000, 0)}, "more than 262144 bytes"),
        ({"/live/index.m3u8": compressed(b"x")}, "compressed"),
        ({"/live/index.m3u8": status(302, Location="http://169.254.169.254/")}, "redirect"),
        ({}, "answers 404"),
        # Three segments in a row that are no use say that the source is none.
        ({f"/live/{n}.ts": endless(bytes(1 << 20), 0) for n in range(5)}, "sends more than 20971520 bytes"),
        ({f"/live/{n}.ts": compressed(b"x") for n in range(5)}, "compressed"),
        ({f"/live/{n}.ts": status(302, Location="http://169.254.169.254/") for n in range(5)}, "redirect"),
        ({f"/live/{n}.ts": "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n" for n in range(5)}, "names another playlist"),
        ({"/live/index.m3u8": listed(0, 5).replace("EXTINF:1,", "EXTINF:60,")}, "a segment of 60.0 s; 12 s"),
    ],
)  # fmt: skip
async def test_hostile_sources_are_refused_in_words(site: Origin, files: dict[str, Any], words: str) -> None:
    taken = Taken()
    site.files = {"/live/index.m3u8": listed(0, 5), **files} if words != "answers 404" else {}
    with pytest.raises(DestinationError, match=words):
        await followed(site, taken)
    assert taken.segments == []


async def test_a_key_of_a_wrong_size_or_place(site: Origin) -> None:
    for uri, answer, words in (
        ("/key", b"x" * 15, "the key has 15 bytes"),
        ("/key", endless(b"x" * 1000, 0), "more than 16 bytes"),
        ("file:///etc/passwd", b"", "a file URI"),
    ):
        key = f'#EXT-X-KEY:METHOD=AES-128,URI="{uri}"\n'
        site.files = {f"/live/{number}.ts": bytes(32) for number in range(5)}
        site.files |= {"/key": answer, "/live/index.m3u8": listed(0, 3, before=key, ended=True)}
        with pytest.raises(DestinationError, match=words):
            await followed(site, Taken())


async def test_media_that_cannot_be_read_three_times_in_a_row_is_no_source(site: Origin) -> None:
    taken = Taken(refuse=True)
    site.files |= {f"/live/{number}.ts": "x" for number in range(9)} | {"/live/index.m3u8": listed(0, 9, ended=True)}
    with pytest.raises(DestinationError, match="no media"):
        await followed(site, taken)
    assert taken.missed == [0, 1, 2]


async def test_a_playlist_that_fails_for_a_moment_is_borne_and_a_credential_is_asked_for_at_once(site: Origin) -> None:
    taken = Taken()
    site.files |= {f"/live/{number}.ts": "x" for number in range(9)} | {"/live/index.m3u8": listed(0, 2, kind="")}
    async with lane(site, taken) as made:
        following = asyncio.create_task(made.run())
        await until(lambda: taken.numbers == [0, 1], "the first")
        for broken in (status(503), "#EXTM3U\n#EXTINF:", status(404)):
            site.files["/live/index.m3u8"] = broken
            asked = len(site.asked)
            await until(lambda asked=asked: len(site.asked) > asked, "asked again")  # type: ignore[misc]
        site.files["/live/index.m3u8"] = listed(0, 3, kind="")
        await until(lambda: taken.numbers == [0, 1, 2], "gone on with")
        site.files["/live/index.m3u8"] = status(403)
        with pytest.raises(DestinationRejectedError, match="403"):
            await asyncio.wait_for(following, 10)


async def test_a_playlist_that_never_grows_is_given_up(site: Origin) -> None:
    site.files |= {f"/live/{number}.ts": "x" for number in range(9)} | {"/live/index.m3u8": listed(0, 2, kind="")}
    before = time.monotonic()
    with pytest.raises(DestinationError, match="has not grown"):
        await followed(site, Taken(), media_closed_s=2)
    assert time.monotonic() - before > 2.5
    assert len(site.asked) < 20  # and it was asked in peace
