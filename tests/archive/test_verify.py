"""Verify: a recording as it was kept is good; whatever is done to it is found, and the first bad file named."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.archive.manifest import Manifest, build, parse
from relay.archive.playlist import GAP_NAME
from relay.archive.signing import Signer
from relay.archive.store import FileStore
from relay.archive.verify import Verdict, covered, verify
from relay.database import GapRow
from relay.errors import EvidenceError, NotFoundError, StoreError


def look(folder: Path, signer: Signer) -> Verdict:
    return verify(FileStore(folder), "", signer.public)


def test_a_recording_copied_anywhere_is_good(folder: Path, signer: Signer) -> None:
    steps: list[tuple[int, int]] = []
    verdict = verify(FileStore(folder.parent), "copy/", signer.public, lambda done, total: steps.append((done, total)))
    assert verdict.problems == []
    assert verdict.is_good
    assert verdict.manifest is not None
    assert verdict.manifest.is_final
    assert verdict.gap_ms == pytest.approx(3000, abs=100)
    assert verdict.media_ms + verdict.gap_ms == pytest.approx(verdict.length_ms, abs=40)
    assert verdict.length_ms == pytest.approx(19_000, abs=200)
    files = [path for path in folder.iterdir() if path.suffix in (".m4s", ".mp4") and path.name != GAP_NAME]
    assert verdict.checked_bytes == sum(path.stat().st_size for path in files)
    assert steps == [(done, len(files)) for done in range(len(files) + 1)]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return edit


SPOILED: list[tuple[str, Callable[[Path], object], str]] = [
    ("flipped", lambda f: _flip(f / "000002.m4s"), r"segment 000002.m4s: its content was changed: SHA-256 \w{64}, and"),
    ("longer", lambda f: (f / "000001.m4s").write_bytes(bytes(9)), r"segment 000001.m4s: it has 9 bytes, and \d+ "),
    ("missing", lambda f: (f / "000003.m4s").unlink(), "segment 000003.m4s: it is missing"),
    ("no init", lambda f: (f / "init-1.mp4").unlink(), "init segment init-1.mp4: it is missing"),
    ("init", lambda f: _flip(f / "init-1.mp4"), "init segment init-1.mp4: its content was changed"),
    ("no playlist", lambda f: (f / "index.m3u8").unlink(), "index.m3u8: it is missing"),
    ("a shorter playlist", _edit("index.m3u8", "000002.m4s\n", ""), "index.m3u8: it names 000003.m4s where the "
     "manifest names 000002.m4s"),
    ("another init", _edit("index.m3u8", "init-1", "init-9"), "plays 000000.m4s with init-9.mp4 and not with init-1"),
    ("no end", _edit("index.m3u8", "#EXT-X-ENDLIST", ""), "index.m3u8: it does not end, though the recording does"),
    ("more", _edit("index.m3u8", "#EXT-X-ENDLIST", "#EXTINF:1,\nx.m4s"), "it names x.m4s, which the manifest does not"),
    ("no playlist at all", lambda f: (f / "index.m3u8").write_text("hello"), "index.m3u8: it is no playlist"),
    ("an entry", _edit("manifest.json", '"start_ms":0', '"start_ms":1'), "manifest.json: its chain breaks at segment "
     "000001.m4s"),
    ("a reason", _edit("manifest.json", '"reason":"', '"reason":"not '), "manifest.json: its signature by key"),
    ("garbage", lambda f: (f / "manifest.json").write_text("{}"), "manifest.json: it is not a manifest"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "words"), [item[1:] for item in SPOILED], ids=[item[0] for item in SPOILED])
def test_what_is_wrong_is_named(spoil: Callable[[Path], object], words: str, folder: Path, signer: Signer) -> None:
    spoil(folder)
    verdict = look(folder, signer)
    assert not verdict.is_good
    assert len(verdict.problems) == 1
    assert re.search(words, str(verdict.problems[0])), str(verdict.problems[0])


def test_the_first_bad_segment_comes_first(folder: Path, signer: Signer) -> None:
    for name in ("000003.m4s", "000001.m4s"):
        _flip(folder / name)
    (folder / "000002.m4s").unlink()
    names = [problem.name for problem in look(folder, signer).problems]
    assert names == ["segment 000001.m4s", "segment 000002.m4s", "segment 000003.m4s"]


def test_what_cannot_be_checked_is_an_error(folder: Path, signer: Signer, tmp_path: Path) -> None:
    other = Signer(tmp_path / "evidence.key")
    with pytest.raises(EvidenceError, match=rf"in file:.*/copy: it is signed with key {signer.public.id}"):
        look(folder, other)
    assert verify(FileStore(folder), "", None).is_good, "without a key it is taken at its word"
    document = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**document, "version": 9}))
    with pytest.raises(EvidenceError, match="of version 9"):
        look(folder, signer)
    (folder / "manifest.json").unlink()
    with pytest.raises(NotFoundError, match=r"there is no manifest.json in file:.*/copy; name the folder of one"):
        look(folder, signer)
    (folder / "manifest.json").mkdir()
    with pytest.raises(StoreError, match=r"cannot read manifest.json: Is a directory"):
        look(folder, signer)


# --- what an honest signature says, and does not add up --------------------------------------------------------------


def _rewrite(folder: Path, found: Manifest, signer: Signer, **changes: Any) -> None:
    """The manifest again, signed, with other segments, gaps or row."""
    inits = {f"x/{name}": fact for name, fact in found.inits.items()}
    row, segments = changes.get("row", found.row), changes.get("segments", found.segments)
    complete = changes.get("complete", True)
    data = build(row, segments, changes.get("gaps", found.gaps), inits, complete=complete, signer=signer, now=1.0)
    (folder / "manifest.json").write_bytes(data)


def test_a_hole_without_a_gap_and_media_counted_twice(folder: Path, signer: Signer) -> None:
    found = parse((folder / "manifest.json").read_bytes())
    after = next(item for item in found.segments if item.start_ms > found.gaps[0].start_ms)
    _rewrite(folder, found, signer, gaps=[])
    name = after.object_key.rpartition("/")[2]
    assert [str(item) for item in look(folder, signer).problems] == [
        f"segment {name}: {found.gaps[0].length_ms} ms before it are missing, and no gap says why"
    ]
    _rewrite(folder, found, signer, gaps=[*found.gaps, GapRow(start_ms=0, length_ms=500, reason="")])
    assert [str(item) for item in look(folder, signer).problems] == [
        "segment 000000.m4s: 500 ms of its media are said to be missing"
    ]
    first, second, *others = found.segments
    _rewrite(folder, found, signer, segments=[first, replace(second, start_ms=second.start_ms - 700), *others])
    assert [str(item) for item in look(folder, signer).problems] == [
        "segment 000001.m4s: it begins 700 ms before the end of the one before it",
        "segment 000002.m4s: 700 ms before it are missing, and no gap says why",
    ]
    _rewrite(folder, found, signer, segments=[replace(first, start_ms=first.start_ms + 600), *found.segments[1:]])
    assert "segment 000000.m4s: 600 ms before it" in str(look(folder, signer).problems[0])
    assert found.row.ended_at is not None
    _rewrite(folder, found, signer, row=replace(found.row, ended_at=found.row.ended_at + 5))
    assert "ms behind its last segment, and no gap says why" in str(look(folder, signer).problems[0])


def test_until_the_end_playlist_and_manifest_may_be_ahead_of_each_other(folder: Path, signer: Signer) -> None:
    found = parse((folder / "manifest.json").read_bytes())
    row = replace(found.row, state="recording", ended_at=None)
    gaps = [gap for gap in found.gaps if gap.start_ms < found.segments[2].start_ms]
    _rewrite(folder, found, signer, row=row, segments=found.segments[:2], gaps=gaps, complete=False)
    verdict = look(folder, signer)
    assert (verdict.problems, len(verdict.manifest.segments) if verdict.manifest else 0) == ([], 2)
    _rewrite(folder, found, signer, row=replace(row, state="complete"), segments=found.segments[:2], gaps=gaps)
    assert str(look(folder, signer).problems[0]) == "index.m3u8: it names 000002.m4s, which the manifest does not"


def test_a_recording_kept_as_flv_has_no_init_segment(folder: Path, signer: Signer) -> None:
    found = parse((folder / "manifest.json").read_bytes())
    last = found.segments[-1]
    (folder / "000099.raw.flv").write_bytes((folder / last.object_key.rpartition("/")[2]).read_bytes())
    raw = replace(last, seq=99, object_key="x/000099.raw.flv", init_key="")
    _rewrite(folder, found, signer, segments=[*found.segments[:-1], raw])
    (folder / "index.m3u8").write_text(
        (folder / "index.m3u8").read_text().replace(last.object_key.rpartition("/")[2], "#")
    )
    assert look(folder, signer).problems == []


def test_covered_counts_overlaps_once() -> None:
    spans = [(0, 10), (5, 8), (8, 20), (30, 40)]
    for start, stop, expected in ((0, 50, 30), (9, 9, 0), (9, 15, 6), (20, 30, 0), (25, 35, 5), (-5, 1, 1)):
        assert covered(spans, start, stop) == expected
