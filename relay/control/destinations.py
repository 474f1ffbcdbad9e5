"""Destinations as people write them, made complete for storing: URL and key apart, the platform's address filled in."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from relay.control import models
from relay.database import DestinationRow
from relay.egress.base import DestinationConfig, FitConfig, HoldConfig, publish_address
from relay.egress.hls_address import KEY, upload_url, without_key
from relay.egress.platforms import PLATFORMS, Platform
from relay.errors import DestinationError, InvalidError
from relay.secret import Secret

_OPTIONS = {"hold", "fit", "ensure_audio", "on_change", "method", "backup"}
KEY_IN_URL = "key_in_url"  # option of a destination whose key was given as the last part of its URL


def prepared(wanted: Sequence[models.NewDestination]) -> tuple[DestinationRow, ...]:
    """The destinations as they are to be stored. Raises InvalidError that says what is missing."""
    names = [item.name for item in wanted]
    if len(set(names)) < len(names):
        raise InvalidError("two destinations of a channel have the same name")
    return tuple(
        _complete(
            DestinationRow(
                name=item.name,
                url=item.url,
                key=Secret(item.key),
                platform=item.platform,
                enabled=item.enabled,
                options=_options(item),
            )
        )
        for item in wanted
    )


def _options(wanted: models.NewDestination) -> dict[str, Any]:
    """What is kept of the options: only what is not the default."""
    return wanted.model_dump(include=_OPTIONS, exclude_defaults=True)


def options_of(row: DestinationRow) -> models.NewDestination:
    """A stored destination's options, the defaults filled in."""
    known = {name: value for name, value in row.options.items() if name in _OPTIONS}
    return models.NewDestination(name=row.name, **known)


def config_of(row: DestinationRow, hold_limit_s: float) -> DestinationConfig:
    """The destination as egress runs it; ``hold_limit_s`` where it has no limit of its own."""
    options = options_of(row)
    limit_s = hold_limit_s if options.hold.limit_s is None else options.hold.limit_s
    return DestinationConfig(
        name=row.name,
        url=row.url,
        key=row.key,
        platform=row.platform,
        kind=row.kind,
        enabled=row.enabled,
        hold=HoldConfig(options.hold.mode, limit_s, options.hold.slate),
        fit=None if options.fit is None else FitConfig(**options.fit.model_dump()),
        ensure_audio=options.ensure_audio,
        on_change=options.on_change,
        method=options.method,
        backup=_backup(row, options.backup),
    )


def _backup(row: DestinationRow, wanted: bool | str) -> str:
    """The URL of the second place; empty: none. Raises InvalidError where there cannot be one."""
    if not wanted:
        return ""
    platform = PLATFORMS[row.platform]
    if row.kind != "hls":
        raise InvalidError(f"{row.name}: a backup is for HLS destinations; add its address as a destination of its own")
    url = platform.backup_url if wanted is True else wanted
    if not url:
        raise InvalidError(f"{platform.label} has no backup address of its own: give its URL")
    if "?" in url and KEY not in url:
        raise InvalidError("a backup has the same key: write {key} in its place in the backup's URL")
    return url


def changed(row: DestinationRow, change: models.DestinationChange) -> DestinationRow:
    """``row`` after ``change``. Raises InvalidError that says what is missing."""
    url = row.url if change.url is None else change.url
    is_moved = change.platform is not None and change.platform != row.platform
    if is_moved and change.url is None:
        url = ""
    key, options = row.key, row.options
    if change.key is not None or is_moved:
        key = row.key if change.key is None else Secret(change.key)
        options = {name: value for name, value in options.items() if name != KEY_IN_URL}
    elif change.url and options.get(KEY_IN_URL):
        key = Secret("")  # the former URL brought its key along, and so does the new one
    wanted = options_of(row).model_copy(
        update={name: getattr(change, name) for name in change.model_fields_set & _OPTIONS if _is_given(change, name)}
    )
    options = {**{name: value for name, value in options.items() if name not in _OPTIONS}, **_options(wanted)}
    return _complete(
        replace(
            row,
            platform=row.platform if change.platform is None else change.platform,
            url=url,
            key=key,
            enabled=row.enabled if change.enabled is None else change.enabled,
            options=options,
        )
    )


def _is_given(change: models.DestinationChange, name: str) -> bool:
    return name == "fit" or getattr(change, name) is not None


def _complete(row: DestinationRow) -> DestinationRow:
    """With the platform's own URL where none is given, and with the key apart from the URL, to be kept encrypted.

    Raises InvalidError that says what is missing.
    """
    platform = PLATFORMS[row.platform]
    is_given = bool(row.url)
    if not row.url:
        if not platform.url:
            raise InvalidError(f"{platform.label} gives no fixed address: add the URL. It is here: {platform.key_help}")
        row = replace(row, url=platform.url)
    row = replace(row, kind=_kind(row.url, platform))
    if row.kind == "hls":
        row = _complete_hls(row, platform, is_given=is_given)
        _backup(row, options_of(row).backup)
        return row
    _backup(row, options_of(row).backup)
    if row.key:
        return row
    if platform.name != "custom":
        raise InvalidError(f"{platform.label} needs a stream key. It is here: {platform.key_help}")
    try:
        url, key = publish_address(DestinationConfig(name=row.name, url=row.url))
    except DestinationError as error:
        raise InvalidError(f"destination {row.name}: {error}") from error
    return replace(row, url=url.tc_url, key=Secret(key), options={**row.options, KEY_IN_URL: True})


def _kind(url: str, platform: Platform) -> str:
    """What kind of destination ``url`` is. Raises InvalidError where the platform takes another."""
    kind = "hls" if url.lower().startswith("http") else "rtmp"
    if platform.name != "custom" and kind != platform.kind:
        others = [row.name for row in PLATFORMS.values() if row.kind == kind and row.name.startswith(platform.name)]
        instead = f"choose the platform {others[0] if others else 'custom'}, or leave the URL out"
        raise InvalidError(f"{platform.label} does not take such a URL: {instead}")
    return kind


def _complete_hls(row: DestinationRow, platform: Platform, *, is_given: bool) -> DestinationRow:
    if not row.key:
        if not is_given:
            raise InvalidError(f"{platform.label} needs a stream key. It is here: {platform.key_help}")
        url, key = without_key(row.url)
        row = replace(row, url=url, key=Secret(key), options={**row.options, KEY_IN_URL: True} if key else row.options)
    if KEY in row.url and not row.key:
        raise InvalidError(f"destination {row.name}: there is no stream key for the URL's {{key}}")
    try:
        upload_url(row.url, row.key.reveal(), "index.m3u8")
    except DestinationError as error:
        raise InvalidError(f"destination {row.name}: {error}") from error
    return row
