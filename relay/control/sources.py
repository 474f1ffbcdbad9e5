"""Sources as people write them, as they are stored, as ingest runs them, and as they are shown: without secrets."""

from relay.control import models
from relay.database import ChannelRow
from relay.ingest.source import SourceConfig, SourceStatus
from relay.redaction import known
from relay.secret import Secret


def sealed(wanted: models.SourceOptions | None) -> Secret:
    """The source as it is stored; empty: none."""
    return Secret("" if wanted is None else wanted.model_dump_json())


def source_of(row: ChannelRow) -> SourceConfig | None:
    """The channel's source as ingest runs it."""
    options = _options(row)
    if options is None:
        return None
    headers = tuple((name, known.know(Secret(value))) for name, value in options.headers.items())
    return SourceConfig(known.know(Secret(options.url)), headers, options.max_kbps)


def source_view(row: ChannelRow, status: SourceStatus | None) -> models.SourceView | None:
    """The channel's source as people may see it."""
    options = _options(row)
    if options is None or status is None:
        return None
    return models.SourceView(
        url=status.url,
        headers=list(options.headers),
        max_kbps=options.max_kbps,
        state=status.state.value,
        last_error=status.last_error,
        attempts=status.attempts,
    )


def _options(row: ChannelRow) -> models.SourceOptions | None:
    return models.SourceOptions.model_validate_json(row.source.reveal()) if row.source else None
