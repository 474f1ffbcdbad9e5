"""The roof: builds every part, owns the order of start and shutdown, and says in plain lines where things are."""

import asyncio
import ctypes
import gc
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
import uvloop

from relay.archive.archive import Archive
from relay.audit import AuditLog
from relay.budget import ConnectionBudget
from relay.certificates import Watch
from relay.config import Settings, split_address
from relay.control import Control
from relay.control.alerts import Alerts
from relay.control.history import History
from relay.control.limit_hits import limit_hits, within_series
from relay.control.models import NewChannel
from relay.control.token import AdminToken
from relay.database import Database
from relay.database.lock import owned
from relay.egress.manager import EgressManager
from relay.hooks.hooks import Hooks
from relay.hub import Hub, Load, Ticker
from relay.hub.batch import Note
from relay.ingest.admission import Admission
from relay.ingest.hls_push import ROOT, HlsPush
from relay.ingest.links import Links
from relay.ingest.pulls import Pulls
from relay.ingest.rtmp import RtmpIngest
from relay.ingest.source import Around
from relay.listen import open_descriptors, raise_descriptor_limit
from relay.logs import setup_logs, unheard
from relay.media import Packet
from relay.metrics import LoopLag, RelayCollector, render
from relay.metrics_safety import SafetyCollector
from relay.outbound.dial import shared_tls
from relay.web.events import EventLog
from relay.web.hls.live import LiveChannels
from relay.web.server import WebServer

log = structlog.get_logger("relay.app")

FIRST_CHANNEL = "demo"
GC_THRESHOLDS = (20_000, 20, 50)
# The event loop gives way at each system call, and has its turn back from a thread that computes after so long.
SWITCH_S = 0.001
# M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD: a tick's packets come and go without a system call.
_MALLOPT = ((-8, 2), (-3, 128 * 1024), (-1, 2 * 1024 * 1024), (-2, 1024 * 1024))


class App:
    """One running relay. ``start`` opens the doors last, ``close`` shuts them first."""

    def __init__(self, settings: Settings, events: EventLog | None = None) -> None:
        """``events``: what the log goes by, for the console."""
        self.settings = settings
        loop = asyncio.get_running_loop()
        self.database = Database(settings)
        self.token = AdminToken(settings.data_dir)
        self.audit = AuditLog(settings.data_dir)
        load = Load(settings.limits.load)
        self.hub = Hub(settings.hold.limit_s, load)
        self.admission = Admission(settings.limits.auth_failures_per_minute)
        self.budget = ConnectionBudget(settings.limits, raise_descriptor_limit(), open_descriptors)
        off = settings.archive.store == "off"
        self.archive = None if off else Archive(settings, self.database.recordings, self.hub)
        self.live = LiveChannels(self.hub, self.archive, settings)
        self.egress = EgressManager(self.hub, settings)
        self.links = Links(self.hub, self.admission)
        ticker = Ticker(loop, settings.rtmp.tick_ms, settings.rtmp.tick_most_ms, load)
        self.ingest = RtmpIngest(self.hub, self.admission, self.links, settings, ticker, self.budget)
        self.hls = HlsPush(
            self.hub, self.admission, self.links, settings, self.budget, notes=self._notes, backfill=self._backfill
        )
        self.pulls = Pulls(
            Around(
                hub=self.hub,
                settings=settings,
                ticker=ticker,
                tls=shared_tls(settings),
                bytes_received=self.links.bytes_received,
                demuxer=self.hls.demuxer,
                notes=self._notes,
                backfill=self._backfill,
            )
        )
        self.hooks = Hooks(settings)
        self.control = Control(
            settings=settings,
            database=self.database,
            hub=self.hub,
            admission=self.admission,
            egress=self.egress,
            pulls=self.pulls,
            archive=self.archive,
            hooks=self.hooks,
            publisher=self.links.publisher,
            health=self.links.health,
            publish_host=self._publish_host,
            hls_base=self._hls_base,
            playback_base=self._playback_base,
        )
        self.alerts = Alerts(self.hooks, self.hub, self.archive, lambda: self.control.channel_names, self.egress.status)
        self.lag = LoopLag(loop, ticker)
        collector = RelayCollector(
            hub=self.hub,
            links=self.links,
            rtmp=self.ingest,
            hls=self.hls,
            admission=self.admission,
            egress=self.egress,
            pulls=self.pulls,
            archive=self.archive,
            hooks=self.hooks,
            lag=self.lag,
            watched=self.live.watched,
            kept_bytes=lambda: self.live.kept_bytes,
            channels=self._measured_channels,
            expected=lambda name: self.control.is_expected(name),
            console=lambda: f"{self._playback_base()}/",
            limit_hits=self._limit_hits,
        )
        self.web = WebServer(
            settings,
            self.control,
            self.archive,
            self.live,
            EventLog() if events is None else events,
            History(self.hub),
            token=self.token,
            audit=self.audit,
            reencrypt=self.database.reencrypt,
            sign=self.database.cipher.sign,
            metrics=lambda: render(collector, SafetyCollector(self.certificates, self.audit)),
            problems=self.problems,
            share_base=self._share_base,
            budget=self.budget,
        )
        if self.archive is not None:
            self.archive.expire = self._expire
        self.certificates = Watch(
            lambda: [door.certificate for door in (self.ingest, self.hls, self.web) if door.certificate is not None],
            self.token.look,
        )
        self._started = False

    async def start(self) -> None:
        """Open everything. Raises ConfigError naming the setting that does not work."""
        if self.database.cipher.is_changing:
            await self.database.finish_reencrypting()
        await self.control.start()
        if self.archive is not None:
            await self.archive.start()
        await self.web.start()
        await self.ingest.start()
        await self.hls.start()
        self.links.start()
        if not self.control.channel_names:
            await self.control.create_channel(NewChannel(name=FIRST_CHANNEL))
        if self.archive is not None:
            self.archive.work()
        self.pulls.start()
        self.lag.start()
        self.alerts.start()
        self.certificates.start()
        self._started = True
        # What is made by now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # Packets are tuples, which it counts, and no cycles: looking a thousand times a minute finds nothing.
        gc.set_threshold(*GC_THRESHOLDS)
        sys.setswitchinterval(SWITCH_S)
        log.info("listening", rtmp=self.ingest.ports, hls=self.hls.port, http=self.web.port)

    async def close(self) -> None:
        """Publishers are told, destinations ended, the spool synced, uploads finished as far as time allows."""
        self._started = False
        await self.pulls.close()
        await self.ingest.close()
        await self.hls.close()
        self.links.close()
        await self.egress.close()
        if self.archive is not None:
            await self.archive.close(self.settings.limits.shutdown_s / 2)
        self.alerts.stop()
        await self.certificates.close()
        await self.hooks.close()
        await self.web.close()
        self.lag.stop()
        await asyncio.to_thread(self.database.close)
        log.info("stopped")

    async def _expire(self, recording: str) -> None:
        """Delete a recording that has had its time."""
        assert self.archive is not None
        await self.archive.delete(recording)
        await self.audit.note("retention", "recording deleted", recording=recording)

    def problems(self) -> list[str]:
        """Why the relay is not ready; empty when it is."""
        if not self._started:
            return ["starting or stopping"]
        problems = self.archive.problems() if self.archive is not None else []
        if self.hls.is_resting or any(listener.is_resting for listener in self.ingest.listeners):
            problems.append("no more connections can be taken: this process has no file descriptors left")
        return problems

    def _measured_channels(self) -> list[str]:
        most = self.settings.limits.metric_series
        return within_series(self.control.channel_names, self.egress, most, self.budget.hits)

    def _limit_hits(self) -> Counter[str]:
        names = self.control.channel_names
        return limit_hits(self.budget.hits, self.admission, self.egress, self.pulls, self.archive, names)

    def _publish_host(self) -> tuple[str, int]:
        host, _ = split_address(self.settings.rtmp.listen)
        named = self.settings.rtmp.public_host
        if not named:
            named = own_address() if host in ("0.0.0.0", "::") else host
        return named, self.ingest.ports[0]

    def _hls_base(self) -> str:
        scheme = "http" if self.settings.ingest_http.tls_certificate is None else "https"
        return f"{scheme}://{self._publish_host()[0]}:{self.hls.port}{ROOT}"

    async def _notes(self, channel: str) -> Sequence[Note]:
        return await self.archive.notes(channel) if self.archive is not None else ()

    async def _backfill(self, channel: str, packets: Sequence[Packet], note: str) -> bool:
        return self.archive is not None and await self.archive.backfill(channel, packets, note)

    def _playback_base(self) -> str:
        if self.settings.http.public_url:
            return self.settings.http.public_url.rstrip("/")
        host, _ = split_address(self.settings.http.listen)
        scheme = "http" if self.settings.http.tls_certificate is None else "https"
        return f"{scheme}://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{self.web.port}"

    def _share_base(self) -> tuple[str, bool]:
        """What links to streamers' pages begin with, and whether only this machine can open them."""
        http = self.settings.http
        if http.public_url:
            return self._playback_base(), False
        listens, port = (http.share_listen, self.web.share_port) if http.share_listen else (http.listen, self.web.port)
        host, _ = split_address(listens)
        is_local = host in ("localhost", "::1") or host.startswith("127.")
        named = host if is_local else self._publish_host()[0]
        scheme = "http" if http.tls_certificate is None else "https"
        return f"{scheme}://{f'[{named}]' if ':' in named else named}:{port}", is_local

    def banner(self, *, show_keys: bool) -> str:
        """What to do next, in a few readable lines."""
        channel = self.control.channels()[0]
        elsewhere = f"(relay channel show {channel.name})"
        key, read_key = (channel.stream_key, channel.read_key) if show_keys else (elsewhere, elsewhere)
        local = f"rtmp://127.0.0.1:{self.ingest.ports[0]}/live"
        clip = "-f lavfi -i testsrc2=s=640x360:r=30 -f lavfi -i sine=r=48000"
        codec = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -b:v 800k -g 60 -c:a aac"
        archive = "off" if self.archive is None else self.archive.where
        lines = [
            "Field Relay is running.",
            "",
            f"  Publish to     {channel.publish_url}",
            f"  Stream key     {key}",
            f"  Try it         ffmpeg -re {clip} {codec} -f flv {local}/{key}",
            f"  Console        {self._playback_base()}/   (admin token: {self.settings.data_dir / 'admin.token'})",
            f"  Watch          {channel.watch_url}?key={read_key}",
            f"  In a player    {channel.playback_url}?key={read_key}",
            f"  Archive        {archive}",
            f"  Metrics        {self._playback_base()}/metrics",
            "",
            "  Stop with Ctrl-C. In another terminal: .venv/bin/relay --help",
        ]
        return "\n".join(lines)


def own_address() -> str:
    """The address this machine shows to the network; nothing is sent to find it out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1, RFC 5737
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


async def serve(settings: Settings, say: Callable[[str], None], events: EventLog, *, show_keys: bool) -> None:
    """Run until SIGTERM or SIGINT. Raises ConfigError when it cannot start, ConflictError when another relay runs."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(unheard)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with owned(settings.data_dir):
        app = App(settings, events)
        loop.add_signal_handler(signal.SIGHUP, app.certificates.look)
        try:
            await app.start()
            say(app.banner(show_keys=show_keys))
            await stop.wait()
            log.info("stopping")
        finally:
            await app.close()


def give_memory_back() -> bool:
    """Have glibc return what is freed: few arenas, and segments always in mappings of their own. False elsewhere.

    Left to itself it keeps, in each thread's arena, what the largest segments that thread ever handled took.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) == 1 for option, value in _MALLOPT)


def run(settings: Settings, say: Callable[[str], None], *, show_keys: bool = False) -> None:
    """The whole life of a relay process. ``say`` shows the operator the first lines."""
    give_memory_back()
    events = EventLog()
    setup_logs(settings.log, events)
    uvloop.run(serve(settings, say, events, show_keys=show_keys))
