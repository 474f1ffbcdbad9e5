"""Verify: whether a recording in a store is what its signed manifest says, object by object. Blocking; for threads."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

from relay.archive.manifest import KEY_NAME, Manifest, check, parse
from relay.archive.playlist import PLAYLIST_NAME, file_name, read_playlist
from relay.archive.recording import ALONE_MS, GAP_OVER_MS, media_end_ms
from relay.archive.signing import PublicKey
from relay.archive.store import Store
from relay.errors import EvidenceError, NotFoundError, StoreError

_READERS = 4
_ASKED_WRONGLY = frozenset({"key", "version"})


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one file of the recording, or (``name`` empty) with the whole."""

    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}" if self.name else self.what


@dataclass(slots=True)
class Verdict:
    """What was found. ``manifest``: None where it could not be read. ``problems``: in the order of the recording."""

    manifest: Manifest | None = None
    problems: list[Problem] = field(default_factory=list)
    checked_bytes: int = 0
    media_ms: int = 0
    gap_ms: int = 0
    length_ms: int = 0

    @property
    def is_good(self) -> bool:
        return not self.problems


def verify(
    store: Store, prefix: str, expected: PublicKey | None, progress: Callable[[int, int], None] = lambda *_: None
) -> Verdict:
    """Check the recording whose objects' keys begin with ``prefix`` (which ends with a slash, or is empty).

    ``expected``: the key it must be signed with; None: whichever it names. ``progress``: (objects done, of how many).
    Raises NotFoundError where there is no manifest, EvidenceError when it is of another key or version, StoreError.
    """
    verdict = Verdict()
    try:
        data = store.get(prefix + KEY_NAME)
    except StoreError as error:
        if error.kind != "absent":
            raise
        raise NotFoundError(
            f"there is no {KEY_NAME} in {_place(store, prefix)}; name the folder of one recording, where its segments "
            "are; one that still runs has none before its first hour"
        ) from error
    try:
        manifest = verdict.manifest = parse(data)
        check(manifest, expected)
    except EvidenceError as error:
        if error.kind in _ASKED_WRONGLY:
            raise EvidenceError(f"{KEY_NAME} in {_place(store, prefix)}: {error}", error.kind) from error
        verdict.problems.append(Problem(KEY_NAME, str(error)))
        if verdict.manifest is None:
            return verdict
        manifest = verdict.manifest
    _objects(verdict, manifest, store, prefix, progress)
    verdict.problems += _times(verdict, manifest)
    verdict.problems += _playlist(manifest, store, prefix)
    return verdict


def _place(store: Store, prefix: str) -> str:
    return f"{store.where.rstrip('/')}/{prefix}".rstrip("/")


# --- objects ---------------------------------------------------------------------------------------------------------


def _objects(
    verdict: Verdict, manifest: Manifest, store: Store, prefix: str, progress: Callable[[int, int], None]
) -> None:
    """Every object's presence, size and SHA-256; an init segment right before the first segment that needs it."""
    wanted: dict[str, tuple[str, int, str]] = {}
    for segment in manifest.segments:
        init, name = file_name(segment.init_key), file_name(segment.object_key)
        if init and init not in wanted:
            wanted[init] = ("init segment", *manifest.inits[init])
        wanted[name] = ("segment", segment.bytes, segment.sha256)
    done = 0
    progress(done, len(wanted))
    with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as threads:
        facts = threads.map(lambda name: _facts(store, prefix + name), wanted)
        for (name, (kind, size, digest)), fact in zip(wanted.items(), facts, strict=True):
            done += 1
            progress(done, len(wanted))
            if fact is None:
                verdict.problems.append(Problem(f"{kind} {name}", "it is missing"))
                continue
            verdict.checked_bytes += fact[0]
            if fact[0] != size:
                what = f"it has {fact[0]} bytes, and {size} were recorded"
            elif fact[1] != digest:
                what = f"its content was changed: SHA-256 {fact[1]}, and {digest} was recorded"
            else:
                continue
            verdict.problems.append(Problem(f"{kind} {name}", what))


def _facts(store: Store, key: str) -> tuple[int, str] | None:
    """(size, SHA-256) of an object, or None. Raises StoreError."""
    try:
        data = store.get(key)
    except StoreError as error:
        if error.kind != "absent":
            raise
        return None
    return len(data), hashlib.sha256(data).hexdigest()


# --- times -----------------------------------------------------------------------------------------------------------


def _times(verdict: Verdict, manifest: Manifest) -> Iterator[Problem]:
    """Media and gaps together are the recording's time: no hole without a reason, nothing counted twice."""
    segments = manifest.segments
    gaps = sorted((gap.start_ms, gap.start_ms + gap.length_ms) for gap in manifest.gaps)
    if not segments:
        return
    verdict.media_ms = sum(round(segment.duration_s * 1000) for segment in segments)
    start_ms = 0 if gaps and gaps[0][0] < segments[0].start_ms else segments[0].start_ms
    last_ms = max(media_end_ms(segments[-1]), gaps[-1][1] if gaps else 0)
    verdict.length_ms = last_ms - start_ms
    verdict.gap_ms = covered(gaps, start_ms, last_ms)
    name = file_name(segments[0].object_key)
    hole_ms = segments[0].start_ms - covered(gaps, 0, segments[0].start_ms)
    if hole_ms > ALONE_MS:  # the picture may begin that much later than the sound, which counts with it
        yield Problem(f"segment {name}", f"{hole_ms} ms before it are missing, and no gap says why")
    for before, after in pairwise(segments):
        name = file_name(after.object_key)
        hole_ms = after.start_ms - media_end_ms(before)
        unknown_ms = hole_ms - covered(gaps, media_end_ms(before), after.start_ms)
        if unknown_ms > GAP_OVER_MS:
            yield Problem(f"segment {name}", f"{unknown_ms} ms before it are missing, and no gap says why")
        elif hole_ms < -GAP_OVER_MS:
            yield Problem(f"segment {name}", f"it begins {-hole_ms} ms before the end of the one before it")
    for segment in segments:
        twice_ms = covered(gaps, segment.start_ms, media_end_ms(segment))
        if twice_ms > GAP_OVER_MS:
            name = file_name(segment.object_key)
            yield Problem(f"segment {name}", f"{twice_ms} ms of its media are said to be missing")
    if manifest.is_final and manifest.row.ended_at is not None:
        said_ms = round((manifest.row.ended_at - manifest.row.started_at) * 1000)
        if said_ms - last_ms > ALONE_MS + GAP_OVER_MS:
            yield Problem("", f"the recording ends {said_ms - last_ms} ms behind its last segment, and no gap says why")


def covered(spans: Sequence[tuple[int, int]], start_ms: int, stop_ms: int) -> int:
    """How much of the time from ``start_ms`` to ``stop_ms`` the sorted ``spans`` cover, what overlaps counted once."""
    covered, at = 0, start_ms
    for begin, end in spans:
        begin, end = max(begin, at), min(end, stop_ms)
        if end > begin:
            covered += end - begin
            at = end
    return covered


# --- the playlist ----------------------------------------------------------------------------------------------------


def _playlist(manifest: Manifest, store: Store, prefix: str) -> Iterator[Problem]:
    """It names exactly the manifest's segments, except what MP4 cannot hold; until the end either may be ahead."""
    try:
        listed = read_playlist(store.get(prefix + PLAYLIST_NAME))
    except StoreError as error:
        if error.kind != "absent":
            raise
        yield Problem(PLAYLIST_NAME, "it is missing")
        return
    except EvidenceError as error:
        yield Problem(PLAYLIST_NAME, str(error))
        return
    own = [(file_name(row.object_key), file_name(row.init_key)) for row in manifest.segments if row.init_key]
    theirs = [(item.name, item.init) for item in listed.segments]
    for (name, init), (other, other_init) in zip(own, theirs, strict=False):
        if name != other:
            yield Problem(PLAYLIST_NAME, f"it names {other} where the manifest names {name}")
            return
        if init != other_init:
            yield Problem(PLAYLIST_NAME, f"it plays {name} with {other_init or 'no init segment'} and not with {init}")
            return
    if not manifest.is_final:
        return
    if len(theirs) < len(own):
        yield Problem(PLAYLIST_NAME, f"it lacks {own[len(theirs)][0]}")
    elif len(theirs) > len(own):
        yield Problem(PLAYLIST_NAME, f"it names {theirs[len(own)][0]}, which the manifest does not")
    elif not listed.ends:
        yield Problem(PLAYLIST_NAME, "it does not end, though the recording does")
