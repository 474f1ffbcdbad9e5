"""What runs, as people see it: destinations, publishers and tracks in the API's shapes."""

from dataclasses import asdict

from relay.control import models
from relay.control.destinations import options_of
from relay.database import DestinationRow
from relay.egress.base import DestinationStatus
from relay.hub import Stream
from relay.ingest.base import PublisherInfo


def destination_view(row: DestinationRow, status: DestinationStatus) -> models.DestinationView:
    options = options_of(row)
    return models.DestinationView(
        name=status.name,
        platform=status.platform,
        kind=row.kind,
        url=status.url,
        hold=options.hold,
        fit=options.fit,
        ensure_audio=options.ensure_audio,
        on_change=options.on_change,
        method=options.method,
        backup=bool(options.backup),
        state=status.state.value,
        last_error=status.last_error,
        bytes_sent=status.bytes_sent,
        attempts=status.attempts,
        dropped_packets=sum(status.dropped_packets.values()),
        backlog_s=status.backlog_s,
    )


def publisher_view(info: PublisherInfo) -> models.PublisherView:
    return models.PublisherView.model_validate(asdict(info))


def track_views(stream: Stream | None) -> list[models.TrackView]:
    return [
        models.TrackView(
            kind=track.kind,
            codec=track.codec,
            codec_string=track.codec_string,
            width=track.width,
            height=track.height,
            sample_rate=track.sample_rate,
            channels=track.channels,
        )
        for track in (stream.tracks if stream is not None else ())
        if track is not None
    ]
