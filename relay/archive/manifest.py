"""Manifests: what a recording consists of, each entry bound to the one before, signed by the relay that kept it.

``manifest.json`` is canonical JSON (RFC 8785: sorted keys, no spaces; only text, whole numbers and truth values) and a
line feed. Ed25519 signs the canonical bytes of everything but ``signature``, so that ``jq -cS 'del(.signature)'`` and
OpenSSL can check it as well.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from relay.archive.playlist import file_name
from relay.archive.signing import PublicKey, Signer
from relay.database import GapRow, RecordingRow, SegmentRow
from relay.errors import EvidenceError

KEY_NAME = "manifest.json"
FORMAT = "field-relay-manifest"
VERSION = 1
NOTHING_BEFORE = "0" * 64

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest read back. ``inits``: (bytes, SHA-256) of each init segment by its name; ``written_at``: unix s."""

    row: RecordingRow
    segments: tuple[SegmentRow, ...]
    gaps: tuple[GapRow, ...]
    inits: dict[str, tuple[int, str]]
    is_final: bool
    written_at: float
    key: PublicKey
    signature: bytes
    signed: bytes


# --- writing ---------------------------------------------------------------------------------------------------------


def build(
    row: RecordingRow,
    segments: Sequence[SegmentRow],
    gaps: Sequence[GapRow],
    inits: Mapping[str, tuple[int, str]],
    *,
    complete: bool,
    signer: Signer,
    now: float,
) -> bytes:
    """The manifest of a recording. ``inits``: (bytes, SHA-256) by object key; ``complete``: nothing will follow."""
    entries, head = _chain([_entry(segment) for segment in segments])
    content = {
        "format": _canonical(FORMAT),
        "version": _canonical(VERSION),
        "recording": _canonical(
            {
                "id": row.id,
                "channel": row.channel,
                "state": row.state,
                "started_at": _text(row.started_at),
                "ended_at": None if row.ended_at is None else _text(row.ended_at),
                "base_ms": row.base_ms,
            }
        ),
        "final": _canonical(complete),
        "written_at": _canonical(_text(now)),
        "inits": _canonical(
            [{"name": file_name(key), "bytes": size, "sha256": digest} for key, (size, digest) in inits.items()]
        ),
        # Entry by entry, as they were hashed: one call for a day of them would hold up the live path.
        "segments": f"[{','.join(entries)}]",
        "head": _canonical(head),
        "gaps": _canonical(
            [{"start_ms": gap.start_ms, "length_ms": gap.length_ms, "reason": gap.reason} for gap in gaps]
        ),
        "key": _canonical({"algorithm": "Ed25519", "id": signer.public.id, "public": signer.public.base64}),
    }
    signature = base64.b64encode(signer.sign(_object(content).encode())).decode()
    return _object({**content, "signature": _canonical(signature)}).encode() + b"\n"


def _entry(segment: SegmentRow) -> dict[str, Any]:
    return {
        "seq": segment.seq,
        "name": file_name(segment.object_key),
        "init": file_name(segment.init_key),
        "started_at": _text(segment.started_at),
        "start_ms": segment.start_ms,
        "duration_ms": round(segment.duration_s * 1000),
        "bytes": segment.bytes,
        "sha256": segment.sha256,
        "starts_with_keyframe": segment.starts_with_keyframe,
        "discontinuity": segment.discontinuity,
        "thumbnail": segment.thumbnail,
    }


def _chain(entries: Sequence[dict[str, Any]]) -> tuple[list[str], str]:
    """(canonical entries, each with the hash of the one before as ``previous``; the hash of the last)."""
    done, head = [], NOTHING_BEFORE
    for entry in entries:
        text = _canonical({**entry, "previous": head})
        head = hashlib.sha256(text.encode()).hexdigest()
        done.append(text)
    return done, head


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _object(members: Mapping[str, str]) -> str:
    """An object of members that are canonical already."""
    return "{" + ",".join(f'"{name}":{text}' for name, text in sorted(members.items())) + "}"


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime(_TIME)


# --- reading ---------------------------------------------------------------------------------------------------------


def _checked_time(text: str) -> str:
    datetime.strptime(text, _TIME)
    return text


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Time = Annotated[str, AfterValidator(_checked_time)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Recording(_Part):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
    channel: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    state: Literal["recording", "complete"]
    started_at: Time
    ended_at: Time | None
    base_ms: Annotated[int, Field(gt=-(1 << 53), lt=1 << 53)]


class _Init(_Part):
    name: Name
    bytes: Count
    sha256: Digest


class _Segment(_Part):
    seq: Annotated[int, Field(ge=0, lt=1 << 31)]
    name: Name
    init: Name | Literal[""]
    started_at: Time
    start_ms: Count
    duration_ms: Count
    bytes: Count
    sha256: Digest
    starts_with_keyframe: bool
    discontinuity: bool
    thumbnail: bool
    previous: Digest


class _Gap(_Part):
    start_ms: Count
    length_ms: Count
    reason: Annotated[str, Field(max_length=64)]


class _Key(_Part):
    algorithm: Literal["Ed25519"]
    id: str
    public: str


class _Head(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    format: Literal["field-relay-manifest"]
    version: int


class _Document(_Part):
    format: str
    version: int
    recording: _Recording
    final: bool
    written_at: Time
    inits: tuple[_Init, ...]
    segments: tuple[_Segment, ...]
    head: Digest
    gaps: tuple[_Gap, ...]
    key: _Key
    signature: str


def parse(data: bytes) -> Manifest:
    """Read a manifest; its chain holds, its signature is for ``check``. Raises EvidenceError and nothing else."""
    try:
        version = _Head.model_validate_json(data).version
    except ValidationError as error:
        raise EvidenceError(f"it is not a manifest: {_first(error)}") from error
    if version != VERSION:
        raise EvidenceError(
            f"it is a manifest of version {version}, and this relay reads version {VERSION}: use a newer relay",
            "version",
        )
    try:
        document = _Document.model_validate_json(data)
    except ValidationError as error:
        raise EvidenceError(f"it is a damaged manifest: {_first(error)}") from error
    _check_chain(document)
    content = document.model_dump()
    signed = _canonical({name: value for name, value in content.items() if name != "signature"}).encode()
    if _canonical(content).encode() + b"\n" != data:
        raise EvidenceError("it is a manifest written again by another program: take the relay's own file")
    for text in _contradictions(document):
        raise EvidenceError(f"it is a damaged manifest: {text}")
    public, signature = _decoded(document.key.public), _decoded(document.signature)
    try:
        key = PublicKey(public)
    except ValueError as error:
        raise EvidenceError("it is a damaged manifest: what it names is no public key") from error
    if document.key.id != key.id:
        raise EvidenceError(f"it is a damaged manifest: its key is {key.id}, and it says {document.key.id}")
    return _manifest(document, key, signature, signed)


def check(manifest: Manifest, expected: PublicKey | None) -> None:
    """Raises EvidenceError when it was not signed with ``expected`` (None: its own word for it), or was changed since.

    Kinds: ``key``, or ``signature``.
    """
    if expected is not None and manifest.key.raw != expected.raw:
        raise EvidenceError(
            f"it is signed with key {manifest.key.id} and not with {expected.id}: give the public key of the relay "
            "that recorded it with --key; if it was this key, somebody else has signed it",
            "key",
        )
    if not manifest.key.fits(manifest.signature, manifest.signed):
        raise EvidenceError(
            f"its signature by key {manifest.key.id} does not fit: it was changed after it was signed", "signature"
        )


def _check_chain(document: _Document) -> None:
    before, head = "", NOTHING_BEFORE
    for segment in document.segments:
        if segment.previous != head:
            culprit = f"the entry before it, {before}," if before else "an entry before it"
            raise EvidenceError(
                f"its chain breaks at segment {segment.name}: {culprit} was changed, added or taken away", "chain"
            )
        before = segment.name
        head = hashlib.sha256(_canonical(segment.model_dump()).encode()).hexdigest()
    if head != document.head:
        last = f"after segment {before}" if before else "at its head"
        raise EvidenceError(
            f"its chain breaks {last}: that last entry was changed, or entries behind it taken away", "chain"
        )


def _contradictions(document: _Document) -> Iterator[str]:
    inits = {init.name for init in document.inits}
    names = [segment.name for segment in document.segments]
    if len(inits) != len(document.inits) or len(set(names)) != len(names):
        yield "it names a file twice"
    last = -1
    for segment in document.segments:
        if segment.seq <= last:
            yield f"segment {segment.name} is out of order"
        if segment.init and segment.init not in inits:
            yield f"segment {segment.name} needs {segment.init}, which it does not describe"
        last = segment.seq


def _manifest(document: _Document, key: PublicKey, signature: bytes, signed: bytes) -> Manifest:
    own = document.recording
    prefix = f"{own.channel}/{own.id}"
    return Manifest(
        row=RecordingRow(
            id=own.id,
            channel=own.channel,
            state=own.state,
            started_at=_unix(own.started_at),
            ended_at=None if own.ended_at is None else _unix(own.ended_at),
            base_ms=own.base_ms,
        ),
        segments=tuple(
            SegmentRow(
                seq=segment.seq,
                object_key=f"{prefix}/{segment.name}",
                init_key=f"{prefix}/{segment.init}" if segment.init else "",
                started_at=_unix(segment.started_at),
                start_ms=segment.start_ms,
                duration_s=segment.duration_ms / 1000,
                bytes=segment.bytes,
                sha256=segment.sha256,
                stored=True,
                starts_with_keyframe=segment.starts_with_keyframe,
                discontinuity=segment.discontinuity,
                thumbnail=segment.thumbnail,
            )
            for segment in document.segments
        ),
        gaps=tuple(GapRow(start_ms=gap.start_ms, length_ms=gap.length_ms, reason=gap.reason) for gap in document.gaps),
        inits={init.name: (init.bytes, init.sha256) for init in document.inits},
        is_final=document.final,
        written_at=_unix(document.written_at),
        key=key,
        signature=signature,
        signed=signed,
    )


def _decoded(text: str) -> bytes:
    """What ``text`` is the only base64 of. Raises EvidenceError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise EvidenceError("it is a damaged manifest: key or signature is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise EvidenceError("it is a damaged manifest: key or signature is not base64")
    return data


def _unix(text: str) -> float:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp()


def _first(error: ValidationError) -> str:
    """Where and what the first thing is that does not fit."""
    found = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in found["loc"])
    return f"{where}: {found['msg']}" if where else str(found["msg"])
