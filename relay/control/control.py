"""Control: every change an operator makes, carried out in the database and in the running relay together."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from relay.archive import Archive
from relay.config import Settings
from relay.control import models
from relay.database import ChannelRow, Database, DestinationRow, RecordingRow
from relay.egress.base import DestinationConfig
from relay.egress.manager import EgressManager
from relay.egress.platforms import PLATFORMS
from relay.errors import ConflictError, InvalidError, NotFoundError
from relay.hub import Hub, Stream, StreamState
from relay.ingest.admission import Admission
from relay.ingest.base import PublisherInfo
from relay.secret import Secret, new_key

log = structlog.get_logger("relay.control")


class Control:
    """Changes are made one at a time; what is read is what is running."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        hub: Hub,
        admission: Admission,
        egress: EgressManager,
        archive: Archive | None,
        publisher: Callable[[str], PublisherInfo | None],
        publish_host: Callable[[], tuple[str, int]],
        playback_base: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._database = database
        self._hub = hub
        self._admission = admission
        self._egress = egress
        self._archive = archive
        self._publisher = publisher
        self._publish_host = publish_host
        self._playback_base = playback_base
        self._rows: dict[str, ChannelRow] = {}
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Load every channel and let it run."""
        for row in await self._database.channels.all():
            self._set(row)

    @property
    def channel_names(self) -> Sequence[str]:
        return tuple(self._rows)

    # --- channels ---------------------------------------------------------------------------------------------

    async def create_channel(self, wanted: models.NewChannel) -> models.ChannelView:
        """Raises ConflictError or InvalidError."""
        async with self._changing:
            if wanted.name in self._rows:
                raise ConflictError(f"there is already a channel {wanted.name}")
            destinations = _destinations(wanted.destinations)
            key = Secret(wanted.stream_key) if wanted.stream_key else new_key()
            row = await self._database.channels.create(wanted.name, key, new_key(), {})
            row = replace(row, destinations=destinations)
            await self._database.channels.set_destinations(row.name, row.destinations)
            self._set(row)
            log.info("channel created", channel=row.name)
        return self.channel(row.name)

    def channels(self) -> list[models.ChannelView]:
        return [self._view(row) for row in self._rows.values()]

    def channel(self, name: str) -> models.ChannelView:
        """Raises NotFoundError."""
        return self._view(self._row(name))

    async def change_channel(self, name: str, change: models.ChannelChange) -> models.ChannelView:
        """A new key of the caller's choosing, or another list of destinations. Raises NotFoundError, ConflictError."""
        async with self._changing:
            row = self._row(name)
            if change.stream_key is not None:
                await self._change_key(row, Secret(change.stream_key))
                row = self._row(name)
            if change.destinations is not None:
                await self._set_destinations(row, _destinations(change.destinations))
        return self.channel(name)

    async def delete_channel(self, name: str) -> None:
        """End the stream, forget keys and destinations; recordings stay. Raises NotFoundError."""
        async with self._changing:
            await self._delete(name)

    async def _delete(self, name: str) -> None:
        self._row(name)
        await self._database.channels.delete(name)
        del self._rows[name]
        self._admission.remove(name)
        self._hub.remove(name)
        self._egress.remove(name)
        log.info("channel deleted", channel=name)

    async def rotate_key(self, name: str) -> models.ChannelView:
        """A fresh stream key, at once: whoever publishes with the old one is told to go. Raises NotFoundError."""
        async with self._changing:
            await self._change_key(self._row(name), new_key())
        return self.channel(name)

    async def _change_key(self, row: ChannelRow, key: Secret) -> None:
        if key == row.stream_key:
            return
        changed = replace(row, stream_key=key)
        await self._database.channels.update(changed)
        self._rows[row.name] = changed
        self._admission.set_channel(row.name, key, row.read_key)
        lease = self._hub.lease(row.name)
        if lease is not None:
            lease.release(clean=False)
            lease.publisher.evicted("the stream key was changed")
        log.info("stream key changed", channel=row.name)

    # --- destinations -----------------------------------------------------------------------------------------

    def destinations(self, channel: str) -> list[models.DestinationView]:
        return self._view(self._row(channel)).destinations

    def destination(self, channel: str, name: str) -> models.DestinationView:
        """Raises NotFoundError."""
        for view in self.destinations(channel):
            if view.name == name:
                return view
        raise NotFoundError(f"channel {channel} has no destination {name}")

    async def add_destination(self, channel: str, wanted: models.NewDestination) -> models.DestinationView:
        """Raises NotFoundError, ConflictError or InvalidError."""
        async with self._changing:
            row = self._row(channel)
            if any(item.name == wanted.name for item in row.destinations):
                raise ConflictError(f"channel {channel} already has a destination {wanted.name}")
            await self._set_destinations(row, (*row.destinations, *_destinations([wanted])))
        return self.destination(channel, wanted.name)

    async def change_destination(
        self, channel: str, name: str, change: models.DestinationChange
    ) -> models.DestinationView:
        """Raises NotFoundError or InvalidError."""
        async with self._changing:
            row = self._row(channel)
            before = self._destination(row, name)
            after = replace(
                before,
                platform=before.platform if change.platform is None else change.platform,
                url=before.url if change.url is None else change.url,
                key=before.key if change.key is None else Secret(change.key),
                enabled=before.enabled if change.enabled is None else change.enabled,
            )
            if change.platform is not None and change.platform != before.platform and change.url is None:
                after = replace(after, url="")
            after = _complete(after)
            await self._set_destinations(row, [after if item is before else item for item in row.destinations])
        return self.destination(channel, name)

    async def remove_destination(self, channel: str, name: str) -> None:
        """Raises NotFoundError."""
        async with self._changing:
            row = self._row(channel)
            gone = self._destination(row, name)
            await self._set_destinations(row, [item for item in row.destinations if item is not gone])

    async def _set_destinations(self, row: ChannelRow, rows: Sequence[DestinationRow]) -> None:
        await self._database.channels.set_destinations(row.name, rows)
        changed = self._rows[row.name] = replace(row, destinations=tuple(rows))
        self._configure_egress(changed)
        log.info("destinations changed", channel=row.name, destinations=[item.name for item in rows])

    @staticmethod
    def _destination(row: ChannelRow, name: str) -> DestinationRow:
        for item in row.destinations:
            if item.name == name:
                return item
        raise NotFoundError(f"channel {row.name} has no destination {name}")

    # --- declarative ------------------------------------------------------------------------------------------

    async def apply(self, document: models.Document) -> models.Changes:
        """Make the channels named in ``document`` as it says. Everything is checked before anything is changed."""
        names = [wanted.name for wanted in document.channels]
        if len(set(names)) < len(names):
            raise InvalidError("a channel is named twice in the document")
        prepared = [(wanted, _destinations(wanted.destinations)) for wanted in document.channels]
        changes: list[str] = []
        for wanted, destinations in prepared:
            if wanted.name not in self._rows:
                await self.create_channel(wanted)
                changes.append(f"channel {wanted.name} created")
                continue
            async with self._changing:
                row = self._row(wanted.name)
                if wanted.stream_key is not None and Secret(wanted.stream_key) != row.stream_key:
                    await self._change_key(row, Secret(wanted.stream_key))
                    changes.append(f"channel {wanted.name}: stream key changed")
                    row = self._row(wanted.name)
                if destinations != row.destinations:
                    await self._set_destinations(row, destinations)
                    changes.append(f"channel {wanted.name}: destinations changed")
        if document.prune:
            for name in [name for name in self._rows if name not in names]:
                await self.delete_channel(name)
                changes.append(f"channel {name} deleted")
        return models.Changes(changes=changes)

    # --- recordings -------------------------------------------------------------------------------------------

    async def recordings(self, channel: str | None = None) -> list[models.RecordingView]:
        """Newest first."""
        return [_recording(row) for row in await self._database.recordings.newest(channel)]

    async def recording(self, recording_id: str) -> models.RecordingView:
        """Raises NotFoundError."""
        return _recording(await self._database.recordings.get(recording_id))

    async def newest_recording(self, channel: str) -> str:
        """The recording ``channel`` is writing, or its last one. Raises NotFoundError."""
        self._row(channel)
        rows = await self._database.recordings.newest(channel, limit=1)
        if not rows:
            raise NotFoundError(f"nothing has been recorded on {channel} yet")
        return rows[0].id

    # --- inside -----------------------------------------------------------------------------------------------

    def _row(self, name: str) -> ChannelRow:
        row = self._rows.get(name)
        if row is None:
            raise NotFoundError(f"there is no channel {name}; `relay channel list` shows those there are")
        return row

    def _set(self, row: ChannelRow) -> None:
        self._rows[row.name] = row
        self._rows = dict(sorted(self._rows.items()))
        self._admission.set_channel(row.name, row.stream_key, row.read_key)
        self._configure_egress(row)

    def _configure_egress(self, row: ChannelRow) -> None:
        self._egress.configure(
            row.name,
            [
                DestinationConfig(
                    name=item.name,
                    url=item.url,
                    key=item.key,
                    platform=item.platform,
                    kind=item.kind,
                    enabled=item.enabled,
                )
                for item in row.destinations
            ],
        )

    def _view(self, row: ChannelRow) -> models.ChannelView:
        stream = self._hub.streams.get(row.name)
        info = self._publisher(row.name)
        host, port = self._publish_host()
        at = f"{host}:{port}" if port != 1935 else host
        return models.ChannelView(
            name=row.name,
            state=(stream.state if stream is not None else StreamState.OFFLINE).value,
            stream_key=row.stream_key.reveal(),
            read_key=row.read_key.reveal(),
            publish_url=f"rtmp://{at}/live",
            play_url=f"rtmp://{at}/live/{row.name}",
            playback_url=f"{self._playback_base()}/live/{row.name}/index.m3u8",
            publisher=None if info is None else _publisher(info),
            tracks=_tracks(stream),
            destinations=[
                models.DestinationView(
                    name=status.name,
                    platform=status.platform,
                    url=status.url,
                    state=status.state.value,
                    last_error=status.last_error,
                    bytes_sent=status.bytes_sent,
                    attempts=status.attempts,
                    dropped_packets=sum(status.dropped_packets.values()),
                    backlog_s=status.backlog_s,
                )
                for status in self._egress.status(row.name)
            ],
            recording=self._archive.recording_of(row.name) if self._archive is not None else None,
        )


def _complete(row: DestinationRow) -> DestinationRow:
    """With the platform's own URL where none is given. Raises InvalidError that says what is missing."""
    platform = PLATFORMS[row.platform]
    if not row.url:
        if not platform.url:
            raise InvalidError(f"{platform.label} gives no fixed address: add the URL. It is here: {platform.key_help}")
        row = replace(row, url=platform.url)
    if not row.key and platform.name != "custom":
        raise InvalidError(f"{platform.label} needs a stream key. It is here: {platform.key_help}")
    return row


def _destinations(wanted: Sequence[models.NewDestination]) -> tuple[DestinationRow, ...]:
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


def _publisher(info: PublisherInfo) -> models.PublisherView:
    return models.PublisherView(
        protocol=info.protocol,
        address=info.address,
        encoder=info.encoder,
        encrypted=info.encrypted,
        connected_at=info.connected_at,
        bytes_received=info.bytes_received,
        rtt_s=info.rtt_s,
    )


def _tracks(stream: Stream | None) -> list[models.TrackView]:
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


def _recording(row: RecordingRow) -> models.RecordingView:
    return models.RecordingView(
        id=row.id,
        channel=row.channel,
        state="complete" if row.state == "complete" else "recording",
        started_at=_iso(row.started_at),
        ended_at=None if row.ended_at is None else _iso(row.ended_at),
        duration_s=row.duration_s,
        gap_s=row.gap_s,
        bytes=row.bytes,
        segments=row.segments,
        segments_stored=row.segments_stored,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
