"""The tests' own tools, checked first: lists that can tell a difference, a publisher and a sink that agree."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.support import clips
from tests.support.ledger import Attempt, Verdict, judge, tail_s
from tests.support.listing import Item, Listing, assert_same, lost, read_flv
from tests.support.process import Processes, free_port, wait_for_port
from tests.support.publisher import Publisher, Refused
from tests.support.sink import Arrival, Behaviour, Sink
from tests.support.tls import make_certificates


def media(count: int = 8) -> list[Item]:
    """Video every 40 ms with a keyframe every fourth, audio 5 ms behind each."""
    items = []
    for index in range(count):
        items.append(Item("video", index * 40, 0, index % 4 == 0, f"v{index}"))
        items.append(Item("audio", index * 40 + 5, 0, True, f"a{index}"))
    return items


def test_equal_lists_pass() -> None:
    assert_same(Listing(media()), Listing(media()), "same")
    moved = [item._replace(dts_ms=item.dts_ms + 1000) for item in media()]
    assert_same(Listing(media()), Listing(moved), "another origin")


def test_a_late_start_from_a_keyframe_passes_only_where_allowed() -> None:
    late = Listing(media()[8:])
    assert_same(Listing(media()), late, "late", late_ms=200)
    with pytest.raises(AssertionError, match="8 packets expected, 4 got"):
        assert_same(Listing(media()), late, "late")
    with pytest.raises(AssertionError, match="begins"):
        assert_same(Listing(media()), late, "late", late_ms=100)
    with pytest.raises(AssertionError, match="keyframe"):
        assert_same(Listing(media()), Listing(media()[4:]), "late", late_ms=200)


def attempt(acknowledged: int, *, whole: bool = False) -> Attempt:
    """Sixteen messages of ten bytes, sent a second apart from 100 s on."""
    ends = [(10 * number, 99.0 + number) for number in range(1, 17)]
    return Attempt(media(), ends, acknowledged, whole)


def kept(*places: int) -> Listing:
    items = media()
    return Listing([items[place]._replace(dts_ms=items[place].dts_ms + 1000) for place in places])


@pytest.mark.parametrize(
    ("got", "wrong"),
    [
        (kept(*range(10)), {}),
        (kept(*range(16)), {}),
        (kept(*range(9)), {"lost": 1}),
        (kept(), {"lost": 10}),
        (kept(*range(10), 9), {"duplicates": 1}),
        (Listing([*kept(*range(10)).items, Item("audio", 1, 0, True, "x")]), {"invented": 1}),
        (Listing([*kept(*range(9)).items, media()[9]._replace(cts_ms=1)]), {"lost": 1, "invented": 1}),
        (kept(0, 1, 4, 3, 2, 5, 6, 7, 8, 9), {"disordered": 1}),
        (kept(*range(10), 12), {"holes": 2}),
        (Listing([*kept(*range(9)).items, media()[9]]), {"moved": 1}),
    ],
)
def test_a_ledger_tells_what_was_acknowledged_and_is_not_kept(got: Listing, wrong: dict[str, int]) -> None:
    verdict = judge([attempt(109)], got)
    assert verdict == Verdict(16, 10, **wrong)
    assert verdict.violations == sum(wrong.values())


def test_after_a_goodbye_all_is_owed_and_after_a_kill_the_tail_is_measured() -> None:
    assert judge([attempt(50, whole=True)], kept(*range(15))).lost == 1
    assert judge([attempt(50, whole=True)], kept(*range(16))).violations == 0
    assert tail_s(attempt(50), kept(*range(12)), 115.5) == 3.5
    assert tail_s(attempt(50), kept(*range(16)), 115.5) == 0.0


@pytest.mark.parametrize("index", range(1, 15))
def test_every_kind_of_difference_is_seen(index: int) -> None:
    sent = Listing(media())
    gone = media()
    del gone[index]
    with pytest.raises(AssertionError):
        assert_same(sent, Listing(gone), "one gone", late_ms=1000)
    twice = media()
    twice.insert(index, twice[index])
    with pytest.raises(AssertionError):
        assert_same(sent, Listing(twice), "one twice", late_ms=1000)
    for change in ({"digest": "x"}, {"dts_ms": 7000}, {"cts_ms": 3}, {"is_keyframe": None}):
        other = media()
        other[index] = other[index]._replace(**change)  # type: ignore[arg-type]
        with pytest.raises(AssertionError):
            assert_same(sent, Listing(other), "one changed", late_ms=1000)
    swapped = media()
    if index < 14:
        swapped[index], swapped[index + 2] = swapped[index + 2], swapped[index]
        with pytest.raises(AssertionError):
            assert_same(sent, Listing(swapped), "two swapped", late_ms=1000)


def test_lost_counts_from_the_first_received() -> None:
    sent = media()
    assert lost(sent, sent) == 0
    assert lost(sent, sent[4:]) == 0
    assert lost(sent, sent[4:6] + sent[8:]) == 2
    assert lost(sent, []) == len(sent)


async def test_programs_end_with_their_children(tmp_path: Path) -> None:
    """A shell's grandchild is gone too, and output is kept."""
    group = Processes(tmp_path)
    shell = group.start("/bin/sh", "-c", "echo here; sleep 600 & echo $!; wait")
    for _ in range(500):
        if shell.output.read_text().count("\n") == 2:
            break
        await asyncio.sleep(0.01)
    child = int(shell.output.read_text().split()[1])
    assert shell.running
    group.close()
    assert not shell.running
    for _ in range(100):
        if not _alive(child):
            break
        await asyncio.sleep(0.02)
    assert not _alive(child), "the grandchild lives on"
    assert "here" in shell.text()


def _alive(pid: int) -> bool:
    """Whether the process still runs; a corpse nobody has collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


async def test_a_stopped_program_is_ended_too(processes: Processes) -> None:
    sleeper = processes.start("/bin/sleep", "600")
    sleeper.signal(signal.SIGSTOP)
    processes.close()
    assert sleeper.popen.returncode == -signal.SIGKILL


def test_ports_are_not_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


async def test_waiting_for_a_program_that_died_says_what_it_said(processes: Processes) -> None:
    dead = processes.start(sys.executable, "-c", "raise SystemExit('no such luck')")
    with pytest.raises(AssertionError, match="no such luck"):
        await wait_for_port(free_port(), dead)


@pytest.mark.parametrize("chunk_size", [128, 4096, 60000])
@pytest.mark.parametrize("digest", [True, False])
async def test_publisher_and_sink_agree(chunk_size: int, digest: bool) -> None:
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    async with Sink() as sink:
        async with Publisher(f"{sink.url}/key-1", chunk_size=chunk_size, digest=digest) as publisher:
            await publisher.send(clip, speed=None)
        arrival = await _over(sink)
    assert arrival.app == "sink"
    assert arrival.name == "key-1"
    assert_same(await asyncio.to_thread(read_flv, clip), publisher.sent, "publisher")
    assert_same(publisher.sent, arrival.listing, "sink")
    assert arrival.order[:4] == ["metadata", "video header", "audio header", "audio"], arrival.order
    assert arrival.goodbye


async def test_publisher_and_sink_over_tls(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    async with Sink(tls=certificates.server_context()) as sink:
        async with Publisher(f"{sink.url}/key-1", tls=certificates.client_context()) as publisher:
            await publisher.send(clip, speed=None, until_ms=3000)
        arrival = await _over(sink)
    assert_same(publisher.sent, arrival.listing, "sink")


async def test_a_refusing_sink_is_heard() -> None:
    async with Sink(Behaviour(refuse=lambda app, name: f"no room for {name}")) as sink:
        with pytest.raises(Refused, match="no room for key-1"):
            await Publisher(f"{sink.url}/key-1").open()


async def _over(sink: Sink) -> Arrival:
    for _ in range(500):
        if sink.connections and sink.connections[0].closed_at:
            break
        await asyncio.sleep(0.01)
    return sink.only("key-1")
