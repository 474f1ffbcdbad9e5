"""Destinations as people write them, made complete for storing: URL and key apart, the platform's address filled in."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from relay.control import models
from relay.database import DestinationRow
from relay.egress.base import DestinationConfig, FitConfig, HoldConfig, publish_address
from relay.egress.platforms import PLATFORMS
from relay.errors import DestinationError, InvalidError
from relay.secret import Secret

_OPTIONS = {"hold", "fit", "ensure_audio", "on_change"}
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
    )


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
    if not row.url:
        if not platform.url:
            raise InvalidError(f"{platform.label} gives no fixed address: add the URL. It is here: {platform.key_help}")
        row = replace(row, url=platform.url)
    if row.key:
        return row
    if platform.name != "custom":
        raise InvalidError(f"{platform.label} needs a stream key. It is here: {platform.key_help}")
    try:
        url, key = publish_address(DestinationConfig(name=row.name, url=row.url))
    except DestinationError as error:
        raise InvalidError(f"destination {row.name}: {error}") from error
    return replace(row, url=url.tc_url, key=Secret(key), options={**row.options, KEY_IN_URL: True})
