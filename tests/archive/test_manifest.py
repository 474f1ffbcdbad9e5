"""Manifests: what is written is read back; whatever is changed in one is found, and told in words."""

import base64
import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from relay.archive.manifest import build, check, parse
from relay.archive.signing import Signer
from relay.database import GapRow, RecordingRow, SegmentRow
from relay.errors import EvidenceError

ROW = RecordingRow(
    id="20260102T030405Z-abcdef", channel="talk", state="complete", started_at=1767323045.25, ended_at=1767323067.5,
    base_ms=-40,
)  # fmt: skip
PREFIX = "talk/20260102T030405Z-abcdef"
INITS = {f"{PREFIX}/init-1.mp4": (800, "1" * 64), f"{PREFIX}/init-2.mp4": (801, "2" * 64)}
GAPS = [GapRow(start_ms=6000, length_ms=2500, reason="link lost")]


def segment(seq: int, **values: Any) -> SegmentRow:
    row = SegmentRow(
        seq=seq,
        object_key=f"{PREFIX}/{seq:06d}.m4s",
        init_key=f"{PREFIX}/init-1.mp4",
        started_at=1767323045.25 + 6 * seq,
        start_ms=6000 * seq,
        duration_s=6.0,
        bytes=1000 + seq,
        sha256=hashlib.sha256(b"%d" % seq).hexdigest(),
        stored=True,
    )
    return replace(row, **values)


SEGMENTS = [
    segment(0, thumbnail=True),
    segment(1, start_ms=8500, discontinuity=True, starts_with_keyframe=False),
    segment(2, start_ms=14500, init_key=f"{PREFIX}/init-2.mp4", discontinuity=True),
    segment(4, start_ms=20500, duration_s=1.75, object_key=f"{PREFIX}/000004.raw.flv", init_key=""),
]


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("data") / "evidence.key")


@pytest.fixture(scope="module")
def data(signer: Signer) -> bytes:
    return build(ROW, SEGMENTS, GAPS, INITS, complete=True, signer=signer, now=1767323068.0)


def test_everything_a_catalog_needs_is_read_back(data: bytes, signer: Signer) -> None:
    found = parse(data)
    check(found, signer.public)
    check(found, None)
    assert found.row == ROW
    assert list(found.segments) == SEGMENTS
    assert list(found.gaps) == GAPS
    assert found.inits == {"init-1.mp4": (800, "1" * 64), "init-2.mp4": (801, "2" * 64)}
    assert (found.is_final, found.written_at) == (True, 1767323068.0)
    assert (found.key.id, found.key.raw) == (signer.public.id, signer.public.raw)


def test_a_recording_that_goes_on_or_has_nothing_yet(signer: Signer) -> None:
    row = replace(ROW, state="recording", ended_at=None)
    found = parse(build(row, [], [], {}, complete=False, signer=signer, now=0.0))
    check(found, signer.public)
    assert (found.row, found.segments, found.is_final) == (row, (), False)


def test_a_later_manifest_goes_on_with_the_same_chain(data: bytes, signer: Signer) -> None:
    earlier = json.loads(build(ROW, SEGMENTS[:2], [], INITS, complete=False, signer=signer, now=1.0))
    assert json.loads(data)["segments"][:2] == earlier["segments"]
    assert json.loads(data)["segments"][2]["previous"] == earlier["head"]


def test_anybody_can_check_it_with_json_and_ed25519_alone(data: bytes, signer: Signer) -> None:
    document = json.loads(data)
    signature = base64.b64decode(document.pop("signature"))
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    key: Any = load_pem_public_key(signer.public.pem.encode())
    key.verify(signature, canonical)
    head = "0" * 64
    for entry in document["segments"]:
        assert entry["previous"] == head
        head = hashlib.sha256(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    assert document["head"] == head


# --- what is wrong is told -------------------------------------------------------------------------------------------


def _write(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _signed(document: dict[str, Any], signer: Signer) -> bytes:
    """As somebody with the key writes whatever they like: chain and signature in order."""
    head = "0" * 64
    for entry in document["segments"]:
        entry["previous"] = head
        head = hashlib.sha256(_write(entry)[:-1]).hexdigest()
    document["head"] = head
    del document["signature"]
    return _write({**document, "signature": base64.b64encode(signer.sign(_write(document)[:-1])).decode()})


Change = Callable[[dict[str, Any]], object]
CHANGES: list[tuple[str, Change, str, str]] = [
    ("an entry", lambda d: d["segments"][1].update(bytes=7), "chain", "its chain breaks at segment 000002.m4s: the "
     "entry before it, 000001.m4s, was changed, added or taken away"),
    ("an entry gone", lambda d: d["segments"].pop(1), "chain", "segment 000002.m4s: the entry before it, 000000"),
    ("the first gone", lambda d: d["segments"].pop(0), "chain", "breaks at segment 000001.m4s: an entry before it was"),
    ("the last entry", lambda d: d["segments"][3].update(bytes=7), "chain", "breaks after segment 000004.raw.flv"),
    ("the last gone", lambda d: d["segments"].pop(), "chain", "breaks after segment 000002.m4s: that last entry"),
    ("all gone", lambda d: d["segments"].clear(), "chain", "breaks at its head"),
    ("swapped", lambda d: d["segments"].reverse(), "chain", "breaks at segment 000004.raw.flv"),
    ("another program", lambda d: d.update(format="x"), "form", "it is not a manifest: format: Input should be"),
    ("a list", lambda d: d.clear(), "form", "it is not a manifest: format: Field required"),
    ("a later version", lambda d: d.update(version=2), "version", "it is a manifest of version 2, and this relay reads "
     "version 1: use a newer relay"),
    ("a field more", lambda d: d.update(extra=1), "form", "it is a damaged manifest: extra: Extra inputs"),
    ("a field less", lambda d: d.pop("gaps"), "form", "it is a damaged manifest: gaps: Field required"),
    ("a path", lambda d: d["segments"][0].update(name="../../x"), "form", "damaged manifest: segments.0.name: String"),
    ("a channel", lambda d: d["recording"].update(channel="a/b"), "form", "manifest: recording.channel: String"),
    ("a time", lambda d: d.update(written_at="soon"), "form", "damaged manifest: written_at: Value error"),
    ("a float", lambda d: d["segments"][0].update(bytes=1.0), "form", "damaged manifest: segments.0.bytes: Input"),
    ("below zero", lambda d: d["segments"][0].update(start_ms=-1), "form", "segments.0.start_ms: Input should be gr"),
    ("a gap", lambda d: d["gaps"][0].update(length_ms=1), "signature", "its signature by key .* does not fit: it was "
     "changed after it was signed"),
    ("a name", lambda d: d["recording"].update(id="other"), "signature", "its signature by key"),
    ("the signature", lambda d: d.update(signature="AAAA"), "signature", "its signature by key"),
    ("no base64", lambda d: d.update(signature="?"), "form", "key or signature is not base64"),
    ("spare bits", lambda d: d.update(signature=d["signature"][:-3] + "x=="), "form", "key or signature is not base64"),
    ("a short key", lambda d: d["key"].update(public="AAAA"), "form", "what it names is no public key"),
    ("the key's id", lambda d: d["key"].update(id="0"), "form", "its key is [0-9a-f]{16}, and it says 0"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "words"), [item[1:] for item in CHANGES], ids=[item[0] for item in CHANGES])
def test_every_change_has_its_message(change: Change, kind: str, words: str, data: bytes) -> None:
    document = json.loads(data)
    change(document)
    with pytest.raises(EvidenceError, match=words) as raised:
        check(parse(_write(document)), None)
    assert raised.value.kind == kind


CONTRADICTIONS: list[tuple[str, Change, str]] = [
    ("order", lambda d: d["segments"][2].update(seq=1), "segment 000002.m4s is out of order"),
    ("twice", lambda d: d["segments"][2].update(name="000001.m4s"), "it names a file twice"),
    ("init twice", lambda d: d["inits"].append(d["inits"][0]), "it names a file twice"),
    ("no init", lambda d: d["inits"].pop(), "segment 000002.m4s needs init-2.mp4, which it does not describe"),
]


@pytest.mark.parametrize(("change", "words"), [item[1:] for item in CONTRADICTIONS], ids=[c[0] for c in CONTRADICTIONS])
def test_a_signed_manifest_that_contradicts_itself(change: Change, words: str, data: bytes, signer: Signer) -> None:
    document = json.loads(data)
    change(document)
    with pytest.raises(EvidenceError, match=words):
        parse(_signed(document, signer))


def test_another_form_of_the_same_content_is_refused(data: bytes, signer: Signer) -> None:
    document = json.loads(data)
    assert parse(_signed(copy.deepcopy(document), signer)).row == ROW
    for other in (
        json.dumps(document).encode(),
        data[:-1],
        data + b" ",
        data.replace(b'{"base', b'{"id":"x","base', 1),
    ):
        with pytest.raises(EvidenceError, match="written again by another program"):
            parse(other)


def test_another_key_is_named_beside_the_expected_one(data: bytes, signer: Signer, tmp_path: Path) -> None:
    other = Signer(tmp_path / "evidence.key")
    with pytest.raises(EvidenceError) as raised:
        check(parse(data), other.public)
    assert raised.value.kind == "key"
    assert f"it is signed with key {signer.public.id} and not with {other.public.id}: give the" in str(raised.value)


# --- strangers' manifests --------------------------------------------------------------------------------------------


def _refused(data: bytes) -> bool:
    """Whether it is; any error but ours escapes and fails the test."""
    try:
        check(parse(data), None)
    except EvidenceError:
        return True
    return False


@given(st.data())
def test_any_byte_changed_is_noticed(data: bytes, choice: st.DataObject) -> None:
    at = choice.draw(st.integers(0, len(data) - 1))
    byte = choice.draw(st.integers(0, 255).filter(lambda value: value != data[at]))
    assert _refused(data[:at] + bytes([byte]) + data[at + 1 :])


@given(st.data())
def test_any_piece_cut_out_doubled_or_put_in_is_noticed(data: bytes, choice: st.DataObject) -> None:
    at = choice.draw(st.integers(0, len(data) - 1))
    until = choice.draw(st.integers(at, len(data)))
    piece = choice.draw(st.binary(max_size=20))
    changed = data[:at] + piece + data[until:]
    assert changed == data or _refused(changed)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_garbage_is_refused(garbage: bytes) -> None:
    assert _refused(garbage)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), _json)
def test_any_value_anywhere_is_refused(data: bytes, choice: st.DataObject, value: Any) -> None:
    document = json.loads(data)
    place: Any = document
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = choice.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or choice.draw(st.booleans()):
            break
        place = place[key]
    before, place[key] = place[key], value
    assert before == value or _refused(_write(document))


def test_json_that_would_exhaust_a_reader_is_refused() -> None:
    for bomb in (b"[" * 200_000, b'{"format":' * 100_000, b'{"version":' + b"9" * 100_000 + b"}", b'"\\ud800"'):
        assert _refused(bomb)


@given(st.floats(0, 4_000_000_000), st.integers(0, 10**9), st.integers(0, 86_400_000))
def test_times_survive(signer: Signer, started_at: float, start_ms: int, duration_ms: int) -> None:
    row = segment(0, started_at=started_at, start_ms=start_ms, duration_s=duration_ms / 1000)
    found = parse(build(ROW, [row], [], INITS, complete=True, signer=signer, now=started_at)).segments[0]
    assert found.started_at == pytest.approx(started_at, abs=1e-6)
    assert (found.start_ms, found.duration_s) == (row.start_ms, row.duration_s)
