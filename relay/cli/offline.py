"""What the commands that need no running relay do: its keys, its store and its database, used directly."""

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from relay.archive.manifest import KEY_NAME
from relay.archive.rebuild import Outcome, rebuild
from relay.archive.signing import KEY_FILE, PublicKey, own_public_key, read_public_key
from relay.archive.store import Store, make_store
from relay.archive.verify import Verdict, verify
from relay.audit import AuditLog
from relay.cli.shared import out, plain
from relay.config import Settings
from relay.database import Database
from relay.database.lock import owned
from relay.errors import ConfigError, InvalidError, NotFoundError, RelayError

MOST_SHOWN = 20
GOOD, BAD, NOT_CHECKED = 0, 1, 2


# --- verify ----------------------------------------------------------------------------------------------------------


def check_recording(
    load: Callable[[], Settings], target: str, key: Path | None, options: dict[str, Any], *, as_json: bool
) -> int:
    """Verify ``target`` and show what was found; the exit code. ``options``: instead of those under ``archive``."""
    try:
        settings = load()
        expected = own_public_key(settings.data_dir) if key is None else read_public_key(key)
        store, prefix = _place(settings, target, options)
        with _progress(shown=not as_json) as progress:
            verdict = verify(store, prefix, expected, progress)
    except RelayError as error:
        print(f"relay: {plain(str(error))}", file=sys.stderr)
        return NOT_CHECKED
    if as_json:
        print(json.dumps(_as_json(verdict, expected), indent=2))
    else:
        _show(verdict, expected, target)
    return GOOD if verdict.is_good else BAD


def _place(settings: Settings, target: str, options: dict[str, Any]) -> tuple[Store, str]:
    """The store and the prefix of the target's objects. Raises RelayError."""
    if target.startswith("s3://"):
        bucket, _, prefix = target.removeprefix("s3://").strip("/").partition("/")
        if len(bucket) < 3 or not prefix:
            raise InvalidError(f"{target} is not a recording; write s3://BUCKET/PREFIX/CHANNEL/RECORDING")
        return _store(settings, f"s3://{bucket}", options), f"{prefix}/"
    folder = Path(target)
    if folder.is_dir():
        return _store(settings, f"file:{folder.resolve()}", options), ""
    if "/" in target or target.startswith("."):
        raise NotFoundError(f"there is no directory {target}; name the folder of one recording, or a recording's id")
    if settings.archive.store == "off":
        raise ConfigError("the settings name no store (archive.store is off); name a directory or s3:// instead")
    store = _store(settings, settings.archive.store, options)
    return store, f"{_channel_of(settings, store, target)}/{target}/"


def _store(settings: Settings, where: str, options: dict[str, Any]) -> Store:
    archive = settings.archive.model_copy(update={"store": where, **options})
    return make_store(settings.model_copy(update={"archive": archive}))


def _channel_of(settings: Settings, store: Store, recording: str) -> str:
    """The channel of a recording: the database knows it at once, the store as well. Raises NotFoundError."""
    if settings.database or (settings.data_dir / "relay.db").exists():
        try:
            return asyncio.run(_known_channel(settings, recording))
        except RelayError as error:
            if not isinstance(error, NotFoundError):
                print(f"relay: going by the store alone: {plain(str(error))}", file=sys.stderr)
    for item in store.listed(""):
        folder, _, name = item.key.rpartition("/")
        if name == KEY_NAME and folder.rpartition("/")[2] == recording:
            return folder.rpartition("/")[0]
    raise NotFoundError(
        f"there is no recording {recording} with a {KEY_NAME} in {store.where}; `relay recording list` shows what "
        "there is, and a folder or s3:// address can be named instead"
    )


async def _known_channel(settings: Settings, recording: str) -> str:
    database = Database(settings)
    try:
        return (await database.recordings.get(recording)).channel
    finally:
        database.close()


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Shows on a terminal's standard error how far it is."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task("checking", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(verdict: Verdict, expected: PublicKey | None, target: str) -> None:
    manifest = verdict.manifest
    lines = []
    if manifest is not None:
        row = manifest.row
        kind = "final" if manifest.is_final else "of a recording that went on: what came later is not covered"
        lines += [
            ("recording", f"{row.id} of channel {row.channel}, from {_date(row.started_at)}"),
            ("manifest", f"{kind}, written {_date(manifest.written_at)}"),
            ("signed with", f"key {manifest.key.id}{'' if expected else ', by its own word only: give --key'}"),
            ("segments", f"{len(manifest.segments)}, {verdict.checked_bytes / 1e6:.1f} MB read"),
            ("time", f"{verdict.media_ms / 1000:.3f} s media + {verdict.gap_ms / 1000:.3f} s missing, as recorded"),
        ]
    for label, text in lines:
        out.print(f"{label:>12}  {plain(text)}", highlight=False, soft_wrap=True)
    if verdict.is_good:
        out.print(f"GOOD: {target} is what was recorded", highlight=False, soft_wrap=True)
        return
    first, *others = verdict.problems
    out.print(f"BAD: {plain(str(first))}", highlight=False, soft_wrap=True)
    for problem in others[: MOST_SHOWN - 1]:
        out.print(f"     {plain(str(problem))}", highlight=False, soft_wrap=True)
    if len(others) >= MOST_SHOWN:
        out.print(f"     and {len(others) - MOST_SHOWN + 1} more", highlight=False)


def _as_json(verdict: Verdict, expected: PublicKey | None) -> dict[str, Any]:
    manifest = verdict.manifest
    return {
        "good": verdict.is_good,
        "recording": None if manifest is None else manifest.row.id,
        "channel": None if manifest is None else manifest.row.channel,
        "final": None if manifest is None else manifest.is_final,
        "key_id": None if manifest is None else manifest.key.id,
        "key_expected": None if expected is None else expected.id,
        "segments": 0 if manifest is None else len(manifest.segments),
        "checked_bytes": verdict.checked_bytes,
        "media_s": verdict.media_ms / 1000,
        "gap_s": verdict.gap_ms / 1000,
        "length_s": verdict.length_ms / 1000,
        "problems": [{"file": problem.name, "problem": problem.what} for problem in verdict.problems],
    }


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- the key ---------------------------------------------------------------------------------------------------------


def print_key(data_dir: Path, *, as_json: bool) -> None:
    """The public key on standard output, as PEM; its id beside it. Raises NotFoundError, ConfigError."""
    key = own_public_key(data_dir)
    if key is None:
        raise NotFoundError(
            f"there is no {data_dir / KEY_FILE}; the relay makes it when it first starts with an archive"
        )
    if as_json:
        print(json.dumps({"id": key.id, "algorithm": "Ed25519", "public": key.base64, "pem": key.pem}, indent=2))
        return
    print(key.pem, end="")
    print(f"key {key.id}", file=sys.stderr)


# --- the catalog -----------------------------------------------------------------------------------------------------


def rebuild_catalog(settings: Settings, key: Path | None, *, unsigned: bool, replace: bool, as_json: bool) -> None:
    """Rebuild the catalog and show what became of each recording. Raises ConflictError while a relay runs."""
    if settings.archive.store == "off":
        raise ConfigError("the settings name no store (archive.store is off): there is nothing to rebuild from")
    outcomes: list[Outcome] = []

    def told(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if not as_json:
            _show_outcome(outcome)

    store = make_store(settings)
    with owned(settings.data_dir):
        expected = own_public_key(settings.data_dir) if key is None else read_public_key(key)
        asyncio.run(_rebuild(settings, store, expected, unsigned, replace, told))
        done = [outcome.recording for outcome in outcomes if outcome.what in ("rebuilt", "replaced")]
        AuditLog(settings.data_dir).say("command line", "catalog rebuilt", count=len(done), recordings=done)
    if as_json:
        print(json.dumps({"recordings": [dataclasses.asdict(outcome) for outcome in outcomes]}, indent=2))
        return
    counts = {what: sum(item.what == what for item in outcomes) for what in ("rebuilt", "replaced", "known", "skipped")}
    words = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    out.print(words or f"there are no recordings in {store.where}", highlight=False, soft_wrap=True)


async def _rebuild(
    settings: Settings,
    store: Store,
    key: PublicKey | None,
    unsigned: bool,
    replace: bool,
    told: Callable[[Outcome], None],
) -> None:
    database = Database(settings)
    try:
        await rebuild(store, database.recordings, key=key, unsigned=unsigned, replace_known=replace, told=told)
    finally:
        await asyncio.to_thread(database.close)


def _show_outcome(outcome: Outcome) -> None:
    if outcome.what == "known":
        return
    size = f", {outcome.segments} segments" if outcome.segments else ""
    place = f"{outcome.channel}/{outcome.recording}"
    out.print(f"{outcome.what:>8}  {plain(place)}{size}", highlight=False, soft_wrap=True)
    for note in outcome.notes:
        out.print(f"          {plain(note)}", highlight=False, soft_wrap=True)
