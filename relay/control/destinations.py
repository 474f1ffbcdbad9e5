"""Destinations as people write them, made complete for storing: URL and key apart, the platform's address filled in."""

from collections.abc import Sequence
from dataclasses import replace

from relay.control import models
from relay.database import DestinationRow
from relay.egress.base import DestinationConfig, publish_address
from relay.egress.platforms import PLATFORMS
from relay.errors import DestinationError, InvalidError
from relay.secret import Secret

KEY_IN_URL = "key_in_url"  # option of a destination whose key was given as the last part of its URL


def prepared(wanted: Sequence[models.NewDestination]) -> tuple[DestinationRow, ...]:
    """The destinations as they are to be stored. Raises InvalidError that says what is missing."""
    names = [item.name for item in wanted]
    if len(set(names)) < len(names):
        raise InvalidError("two destinations of a channel have the same name")
    return tuple(
        _complete(
            DestinationRow(
                name=item.name, url=item.url, key=Secret(item.key), platform=item.platform, enabled=item.enabled
            )
        )
        for item in wanted
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
