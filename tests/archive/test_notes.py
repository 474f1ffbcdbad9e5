"""Recorded pieces that came with a note: kept whole where that can be, known again, with numbers left for late ones."""

from pathlib import Path

import pytest

from relay.archive import recorder as module
from relay.archive import upkeep
from relay.archive.committer import Committer
from relay.archive.notes import dumped, loaded, merged
from relay.archive.recorder import MISSING, MOST_RESERVED, Earlier
from relay.hub.batch import Note
from relay.media import Packet
from tests.archive.test_recorder import OTHER, Bench, audio, bench, committer, held, pictures

__all__ = ["bench", "committer"]


def piece(start_ms: int, end_ms: int, lead_ms: int = 0) -> list[Packet]:
    """A segment: a keyframe each two seconds, and sound that begins ``lead_ms`` before it."""
    sound = [audio(at) for at in range(start_ms - lead_ms, end_ms - lead_ms, 26)]
    return sorted([*pictures(start_ms, end_ms), *sound], key=lambda packet: packet.dts_ms)


def notes(parts: list[object]) -> list[list[tuple[str, int]]]:
    return [[(note.text, note.packets) for note in part.notes] for part in parts]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("length_ms", "begin"),
    [
        (2000, [1000, 7000]),
        (4000, [1000, 5000, 9000, 13_000, 17_000, 21_000]),
        (5990, [1000, 6990, 12_980, 18_970, 24_960, 30_950]),
        (12_000, [1000 + 12_000 * n for n in range(6)]),
    ],
)
@pytest.mark.parametrize("lead_ms", [0, 180])
async def test_parts_end_between_pieces_and_never_within(
    bench: Bench, length_ms: int, begin: list[int], lead_ms: int
) -> None:
    sent = []
    for number in range(6):
        start_ms = 1000 + number * length_ms
        sent.append(piece(start_ms, start_ms + length_ms, lead_ms))
        bench.stream.keep(sent[-1], f"{number}.ts")
    parts = await bench.end()
    assert [part.info.start_ms for part in parts] == begin
    assert held(parts) == [packet.data for run in sent for packet in run]
    assert [note for part in notes(parts) for note in part] == [
        (f"{number}.ts", len(run)) for number, run in enumerate(sent)
    ]
    assert [part.end_ms for part in bench.parts] == [*begin[1:], None], "no gap where sound comes first"
    assert {part.info.gap for part in parts} == {""}


async def test_a_piece_cut_by_a_changed_track_or_a_hole_is_noted_in_both_parts(bench: Bench) -> None:
    bench.stream.keep([*pictures(0, 2000), *pictures(2000, 4000, track=OTHER)], "0.ts")
    bench.stream.keep([*pictures(4000, 5000, track=OTHER), *pictures(7000, 8000, track=OTHER)], "1.ts")
    parts = await bench.end()
    assert notes(parts) == [[("0.ts", 50)], [("0.ts", 50), ("1.ts", 25)], [("1.ts", 25)]]
    found = upkeep.noted(bench.folder, 100)
    assert merged(found.values()) == [Note("0.ts", 100), Note("1.ts", 50)]
    assert sorted(upkeep.noted(bench.folder, 1)) == [2], "the newest first, and no more than is asked for"


def test_notes_go_through_the_catalog() -> None:
    some = [Note("0.ts é\0", 5), Note("1.ts", 6)]
    assert loaded(dumped(some)) == some
    assert dumped(some).isascii()
    assert (dumped([]), loaded("")) == ("", [])


def test_only_what_follows_is_one_note() -> None:
    one, other = Note("a", 1), Note("b", 2)
    assert merged([[one, one], [], [other], [other, one], [one]]) == [one, one, Note("b", 4), Note("a", 2)]


async def test_what_is_missing_leaves_numbers_free(bench: Bench) -> None:
    bench.stream.keep(piece(0, 2000), "0.ts", 3)
    bench.stream.keep(piece(2000, 4000), "1.ts")
    bench.stream.keep(piece(8000, 10_000), "4.ts", 2)
    bench.stream.keep(piece(10_000, 12_000), "5.ts")
    bench.stream.keep(piece(12_000, 14_000), "6.ts", 1)
    bench.stream.keep(piece(50_000, 52_000), "huge.ts", 1 << 40)
    parts = await bench.end()
    assert [(part.info.seq, part.info.start_ms, part.info.gap) for part in parts] == [
        (0, 0, ""),
        (3, 8000, MISSING),
        (5, 12_000, ""),
        (6 + MOST_RESERVED, 50_000, MISSING),
    ]
    assert bench.recorder.next_number == 7 + MOST_RESERVED


async def test_a_recording_that_goes_on_leaves_numbers_free_before_its_first_piece(
    tmp_path: Path, committer: Committer
) -> None:
    bench = Bench(tmp_path, committer, Earlier(900.0, 990.0, 90_000, 7))
    bench.stream.keep(piece(0, 2000), "9.ts", 2)
    (part,) = await bench.end()
    assert part.info.seq == 9


async def test_what_a_full_disk_drops_is_not_noted(bench: Bench) -> None:
    bench.stream.keep(piece(0, 2000), "0.ts")
    bench.recorder.pause()
    bench.stream.keep(piece(2000, 4000), "1.ts")
    bench.recorder.resume()
    bench.stream.keep([audio(4000), *piece(4010, 6000)], "2.ts")
    parts = await bench.end()
    assert [note for part in parts for note in part.notes] == [
        Note("0.ts", len(piece(0, 2000))),
        Note("2.ts", len(parts[1].packets)),
    ]


async def test_many_pieces_at_once_are_kept_and_too_many_are_not_noted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 3000)
    monkeypatch.setattr(module, "WAITING_PIECES_BYTES", 20_000)
    sent = [piece(2000 * number, 2000 * number + 2000) for number in range(8)]
    for number, packets in enumerate(sent):
        bench.stream.keep(packets, f"{number}.ts")
    parts = await bench.end()
    found = [note for part in parts for note in part.notes]
    assert 2 < len(found) < 8
    assert found == [Note(f"{number}.ts", len(packets)) for number, packets in enumerate(sent[: len(found)])]
    assert held(parts) == [packet.data for packets in sent[: len(found)] for packet in packets]


async def test_notes_are_read_while_the_part_is_written(bench: Bench) -> None:
    bench.stream.keep(piece(0, 2000), "0.ts")
    await bench.committer.drain()
    bench.stream.keep(piece(2000, 4000), "1.ts")
    assert upkeep.noted(bench.folder, 100) == {0: [Note("0.ts", len(piece(0, 2000)))]}
    await bench.end()
    assert len(upkeep.noted(bench.folder, 100)[0]) == 2
    assert upkeep.noted(bench.folder / "none", 100) == {}
