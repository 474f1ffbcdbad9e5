"""Control: every change an operator makes, carried out in the database and in the running relay together."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import structlog

from relay.archive.archive import Archive
from relay.archive.retention import Policy
from relay.config import Settings
from relay.control import models
from relay.control.clear import in_the_clear
from relay.control.destinations import changed, config_of, prepared
from relay.control.panel import Panels
from relay.control.recordings import Recordings
from relay.control.shares import Shares
from relay.control.sources import sealed, source_of, source_view
from relay.control.views import destination_view, publisher_view, track_views
from relay.control.webhooks import Webhooks
from relay.database import ChannelRow, Database, DestinationRow
from relay.egress.manager import EgressManager
from relay.errors import ConflictError, InvalidError, NotFoundError
from relay.hooks.hooks import Hooks
from relay.hub import Hub, StreamState
from relay.ingest.admission import Admission
from relay.ingest.base import PublisherInfo
from relay.ingest.health import Health
from relay.ingest.pulls import Pulls
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
        pulls: Pulls,
        archive: Archive | None,
        hooks: Hooks,
        publisher: Callable[[str], PublisherInfo | None],
        health: Callable[[str], Health],
        publish_host: Callable[[], tuple[str, int]],
        hls_base: Callable[[], str],
        playback_base: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._database = database
        self._hub = hub
        self._admission = admission
        self._egress = egress
        self._pulls = pulls
        self._archive = archive
        self._publisher = publisher
        self._health = health
        self._publish_host = publish_host
        self._hls_base = hls_base
        self._playback_base = playback_base
        self.recordings = Recordings(database.recordings, archive)
        self.panels = Panels(self.channel, hub, archive, database.recordings)
        self.shares = Shares(database.shares, lambda: self._rows)
        self.webhooks = Webhooks(database.webhooks, hooks, lambda: self._rows)
        self._rows: dict[str, ChannelRow] = {}
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Load every channel and let it run."""
        for row in await self._database.channels.all():
            self._set(row)
        await self.shares.start()
        await self.webhooks.start()

    @property
    def channel_names(self) -> Sequence[str]:
        return tuple(self._rows)

    # --- channels ---------------------------------------------------------------------------------------------

    async def create_channel(self, wanted: models.NewChannel) -> models.ChannelView:
        """Raises ConflictError or InvalidError."""
        async with self._changing:
            if wanted.name in self._rows:
                raise ConflictError(f"there is already a channel {wanted.name}")
            await self._create(wanted, prepared(wanted.destinations))
        return self.channel(wanted.name)

    async def _create(self, wanted: models.NewChannel, destinations: Sequence[DestinationRow]) -> None:
        key = self._free_key(wanted.name, wanted.stream_key) or new_key()
        options = {"archive": wanted.archive.model_dump(), "expected": wanted.expected, "viewers": wanted.viewers}
        source = sealed(wanted.source)
        self._set(await self._database.channels.create(wanted.name, key, new_key(), options, destinations, source))
        log.info("channel created", channel=wanted.name)

    def channels(self) -> list[models.ChannelView]:
        return [self._view(row) for row in self._rows.values()]

    def channel(self, name: str) -> models.ChannelView:
        """Raises NotFoundError."""
        return self._view(self._row(name))

    async def change_channel(self, name: str, change: models.ChannelChange) -> models.ChannelView:
        """A new key of the caller's choosing, another list of destinations, another source, or other options.

        Raises NotFoundError, ConflictError or InvalidError, and changes nothing then.
        """
        async with self._changing:
            self._row(name)
            destinations = None if change.destinations is None else prepared(change.destinations)
            key = self._free_key(name, change.stream_key)
            if key is not None:
                await self._change_key(self._row(name), key)
            if destinations is not None:
                await self._set_destinations(self._row(name), destinations)
            if change.archive is not None:
                await self._set_options(self._row(name), archive=change.archive.model_dump())
            if change.expected is not None:
                await self._set_options(self._row(name), expected=change.expected)
            if change.viewers is not None:
                await self._set_options(self._row(name), viewers=change.viewers)
            if "source" in change.model_fields_set:
                await self._set_source(self._row(name), change.source)
        return self.channel(name)

    async def _set_source(self, row: ChannelRow, wanted: models.SourceOptions | None) -> None:
        changed = replace(row, source=sealed(wanted))
        await self._database.channels.update(changed)
        self._rows[row.name] = changed
        self._pulls.configure(row.name, source_of(changed))
        log.info("source changed", channel=row.name, has_source=wanted is not None)

    async def _set_options(self, row: ChannelRow, **wanted: object) -> None:
        changed = replace(row, options={**row.options, **wanted})
        await self._database.channels.update(changed)
        self._rows[row.name] = changed
        self._configure_archive(changed)
        log.info("channel options changed", channel=row.name, **wanted)

    def is_expected(self, name: str) -> bool:
        """Whether the channel is meant to be live now. Raises NotFoundError."""
        return models.is_expected(self._row(name))

    async def delete_channel(self, name: str) -> None:
        """End the stream, forget keys and destinations; recordings stay. Raises NotFoundError."""
        async with self._changing:
            await self._delete(name)

    async def _delete(self, name: str) -> None:
        self._row(name)
        await self._database.channels.delete(name)
        del self._rows[name]
        self._admission.remove(name)
        self._pulls.configure(name, None)
        self._hub.remove(name)
        self._egress.remove(name)
        self.shares.forget(name)
        self.webhooks.forget(name)
        if self._archive is not None:
            self._archive.set_policy(name, None)
        log.info("channel deleted", channel=name)

    async def rotate_key(self, name: str) -> models.ChannelView:
        """A fresh stream key, at once: whoever publishes with the old one is told to go. Raises NotFoundError."""
        async with self._changing:
            await self._change_key(self._row(name), new_key())
        return self.channel(name)

    def _free_key(self, name: str, text: str | None) -> Secret | None:
        """``text`` as a key channel ``name`` may have. Raises ConflictError when it already opens something else."""
        if text is None:
            return None
        key = Secret(text)
        if any(key == row.read_key or (key == row.stream_key and row.name != name) for row in self._rows.values()):
            raise ConflictError(f"the stream key for {name} is in use already; choose another, or leave it out")
        return key

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
            await self._set_destinations(row, (*row.destinations, *prepared([wanted])))
        return self.destination(channel, wanted.name)

    async def change_destination(
        self, channel: str, name: str, change: models.DestinationChange
    ) -> models.DestinationView:
        """Raises NotFoundError or InvalidError."""
        async with self._changing:
            row = self._row(channel)
            before = self._destination(row, name)
            after = changed(before, change)
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
        """Make the channels named in ``document`` as it says.

        Everything is checked before anything is changed. Raises ConflictError or InvalidError.
        """
        names = [wanted.name for wanted in document.channels]
        if len(set(names)) < len(names):
            raise InvalidError("a channel is named twice in the document")
        keys = [wanted.stream_key for wanted in document.channels if wanted.stream_key is not None]
        if len(set(keys)) < len(keys):
            raise InvalidError("two channels have the same stream key in the document")
        ready = [(wanted, prepared(wanted.destinations)) for wanted in document.channels]
        async with self._changing:
            for wanted in document.channels:
                self._free_key(wanted.name, wanted.stream_key)
            return models.Changes(changes=await self._apply(ready, document.prune))

    async def _apply(
        self, ready: Sequence[tuple[models.NewChannel, Sequence[DestinationRow]]], prune: bool
    ) -> list[str]:
        changes: list[str] = []
        for wanted, destinations in ready:
            row = self._rows.get(wanted.name)
            if row is None:
                await self._create(wanted, destinations)
                changes.append(f"channel {wanted.name} created")
                continue
            if wanted.stream_key is not None and Secret(wanted.stream_key) != row.stream_key:
                await self._change_key(row, Secret(wanted.stream_key))
                changes.append(f"channel {wanted.name}: stream key changed")
                row = self._row(wanted.name)
            if destinations != row.destinations:
                await self._set_destinations(row, destinations)
                changes.append(f"channel {wanted.name}: destinations changed")
                row = self._row(wanted.name)
            if sealed(wanted.source) != row.source:
                await self._set_source(row, wanted.source)
                changes.append(f"channel {wanted.name}: source changed")
                row = self._row(wanted.name)
            if "archive" in wanted.model_fields_set and wanted.archive != models.archive_options(row):
                await self._set_options(row, archive=wanted.archive.model_dump())
                changes.append(f"channel {wanted.name}: archive options changed")
                row = self._row(wanted.name)
            if "expected" in wanted.model_fields_set and wanted.expected != models.is_expected(row):
                await self._set_options(row, expected=wanted.expected)
                changes.append(f"channel {wanted.name}: {'' if wanted.expected else 'no longer '}expected to be live")
                row = self._row(wanted.name)
            if "viewers" in wanted.model_fields_set and wanted.viewers != models.viewers_of(row):
                await self._set_options(row, viewers=wanted.viewers)
                changes.append(f"channel {wanted.name}: viewers are {wanted.viewers}")
        if prune:
            names = {wanted.name for wanted, _ in ready}
            for name in [name for name in self._rows if name not in names]:
                await self._delete(name)
                changes.append(f"channel {name} deleted")
        return changes

    # --- playback ---------------------------------------------------------------------------------------------

    async def newest_recording(self, channel: str) -> str:
        """The recording ``channel`` is writing, or its last one. Raises NotFoundError."""
        self._row(channel)
        return await self.recordings.newest(channel)

    def playback_base(self) -> str:
        """What playback URLs begin with."""
        return self._playback_base()

    def viewers(self, channel: str) -> tuple[models.Viewers, object]:
        """Who may watch ``channel``, and a mark that is another one whenever anything about it has changed."""
        row = self._rows.get(channel)
        return ("off", None) if row is None else (models.viewers_of(row), row)

    def may_play(self, channel: str, key: str) -> bool:
        """Whether ``key`` is the read key of ``channel``."""
        row = self._rows.get(channel)
        return row is not None and Secret(key) == row.read_key

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
        self._configure_archive(row)
        self._pulls.configure(row.name, source_of(row))

    def _configure_archive(self, row: ChannelRow) -> None:
        if self._archive is not None:
            options = models.archive_options(row)
            keep_bytes = None if options.keep_gb is None else round(options.keep_gb * 1e9)
            self._archive.set_policy(row.name, Policy(options.priority, options.keep_days, keep_bytes))

    def _configure_egress(self, row: ChannelRow) -> None:
        limit_s = self._settings.hold.limit_s
        configs = [config_of(item, limit_s) for item in row.destinations]
        self._hub.set_hold(row.name, max(limit_s, *(config.hold.limit_s for config in configs), 0.0))
        self._egress.configure(row.name, configs)

    def _view(self, row: ChannelRow) -> models.ChannelView:
        stream = self._hub.streams.get(row.name)
        info = self._publisher(row.name)
        health = self._health(row.name)
        host, port = self._publish_host()
        at = f"{host}:{port}" if port != 1935 else host
        statuses = {status.name: status for status in self._egress.status(row.name)}
        return models.ChannelView(
            name=row.name,
            state=(stream.state if stream is not None else StreamState.OFFLINE).value,
            expected=models.is_expected(row),
            stream_key=row.stream_key.reveal(),
            read_key=row.read_key.reveal(),
            publish_url=f"rtmp://{at}/live",
            hls_publish_url=f"{self._hls_base()}/{row.stream_key.reveal()}/index.m3u8",
            play_url=f"rtmp://{at}/live/{row.name}",
            playback_url=f"{self._playback_base()}/live/{row.name}/index.m3u8",
            watch_url=f"{self._playback_base()}/watch/{row.name}",
            viewers=models.viewers_of(row),
            source=source_view(row, self._pulls.status(row.name)),
            publisher=None if info is None else publisher_view(info),
            health=models.HealthView(**asdict(health), words=health.words()),
            lint=[
                *in_the_clear(info, self._settings),
                *(models.FindingView(**item._asdict()) for item in self._egress.findings(row.name)),
            ],
            held_s=0.0 if stream is None else stream.stats.total_held_s(),
            takeovers=0 if stream is None else stream.stats.takeovers,
            is_contested=self._hub.is_contested(row.name),
            tracks=track_views(stream),
            destinations=[
                destination_view(item, statuses[item.name])
                for item in row.destinations
                if item.name in statuses  # none is, once the relay ends
            ],
            recording=self._archive.recording_of(row.name) if self._archive is not None else None,
            recording_paused=self._archive is not None and self._archive.is_paused(row.name),
            archive=models.archive_options(row),
        )
