"""Prometheus metrics: a collector that reads the relay's plain counters when scraped, and only then."""

import asyncio
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from relay import __version__
from relay.archive.archive import Archive
from relay.archive.stats import Durations
from relay.egress.base import DestinationState
from relay.egress.manager import EgressManager
from relay.hooks.hooks import Hooks
from relay.hub import Hub, Stream, StreamState, Ticker
from relay.ingest.admission import Admission
from relay.ingest.hls_push import HlsPush
from relay.ingest.links import Links
from relay.ingest.pulls import Pulls
from relay.ingest.rtmp import RtmpIngest
from relay.ingest.source import SourceState

LAG_EVERY_S = 0.1
LAG_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class LoopLag:
    """How late the event loop runs a timer, sampled ten times a second into plain integers; what ``ticker`` costs."""

    __slots__ = ("_late", "_loop", "_ticker", "_timer", "_wanted")

    def __init__(self, loop: asyncio.AbstractEventLoop, ticker: Ticker) -> None:
        self._loop = loop
        self._ticker = ticker
        self._late = Durations(LAG_BOUNDS_S)
        self._wanted = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._wanted = time.monotonic() + LAG_EVERY_S
        self._timer = self._loop.call_later(LAG_EVERY_S, self._sample)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _sample(self) -> None:
        # Timers count whole milliseconds and may fire up to one early: never a negative lag.
        self._late.add(max(0.0, time.monotonic() - self._wanted))
        self.start()

    def families(self) -> Iterator[Metric]:
        yield _durations("relay_event_loop_lag_seconds", "How late the event loop runs its timers", self._late)
        yield _gauge("relay_tick_seconds", "How often publishers' sockets are read", self._ticker.interval_s)
        ratio = 0.0 if self._ticker.load is None else self._ticker.load.ratio
        yield _gauge("relay_load_ratio", "Live media's use of its processor; at 1 new streams are refused", ratio)


class Watched(Protocol):
    """What a channel's viewers asked for, as the web counts it."""

    bytes_sent: int
    requests: Counter[str]

    @property
    def viewers(self) -> int: ...


class RelayCollector(Collector):
    """Reads hub, doors and archive at scrape. Label values are configured names, and ids of webhooks, only."""

    def __init__(
        self,
        *,
        hub: Hub,
        links: Links,
        rtmp: RtmpIngest,
        hls: HlsPush,
        admission: Admission,
        egress: EgressManager,
        pulls: Pulls,
        archive: Archive | None,
        hooks: Hooks,
        lag: LoopLag,
        watched: Callable[[str], Watched],
        kept_bytes: Callable[[], int],
        channels: Callable[[], Iterable[str]],
        expected: Callable[[str], bool],
        console: Callable[[], str],
        limit_hits: Callable[[], Mapping[str, int]],
    ) -> None:
        self._hub = hub
        self._links = links
        self._rtmp = rtmp
        self._hls = hls
        self._admission = admission
        self._egress = egress
        self._pulls = pulls
        self._archive = archive
        self._hooks = hooks
        self._lag = lag
        self._watched = watched
        self._kept_bytes = kept_bytes
        self._channels = channels
        self._expected = expected
        self._console = console
        self._limit_hits = limit_hits

    def collect(self) -> Iterator[Metric]:
        names = list(self._channels())
        yield from self._about_streams(names)
        yield from self._about_publishers(names)
        yield from self._about_sources(names)
        yield from self._about_destinations(names)
        yield from self._about_viewers(names)
        if self._archive is not None:
            yield from self._about_archive(self._archive)
        yield from self._about_webhooks()
        yield from self._lag.families()
        yield _gauge("relay_tasks", "Tasks of the event loop", len(asyncio.all_tasks()))
        build = GaugeMetricFamily("relay_build_info", "The running build; always 1", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        console = GaugeMetricFamily("relay_console_info", "Where the console is; always 1", labels=["url"])
        console.add_metric([self._console()], 1)
        yield console

    def _about_streams(self, names: list[str]) -> Iterator[Metric]:
        live = GaugeMetricFamily("relay_channel_live", "1 while the channel's media flows", labels=["channel"])
        holding = GaugeMetricFamily(
            "relay_channel_holding", "1 while the stream is kept for a publisher that is away", labels=["channel"]
        )
        expected = GaugeMetricFamily("relay_channel_expected", "1 for channels meant to be live", labels=["channel"])
        packets = CounterMetricFamily(
            "relay_ingest_packets", "Packets taken from publishers", labels=["channel", "track"]
        )
        interval = GaugeMetricFamily(
            "relay_ingest_keyframe_interval_seconds",
            "Media time between the last two keyframes",
            labels=["channel"],
        )
        lag = GaugeMetricFamily(
            "relay_ingest_arrival_lag_seconds",
            "How far media arrives behind its own clock, against the best seen in this stream",
            labels=["channel"],
        )
        held = CounterMetricFamily(
            "relay_hold_seconds", "Time spent waiting for publishers that were away", labels=["channel"]
        )
        takeovers = CounterMetricFamily(
            "relay_publisher_takeovers",
            "Publishers replaced by a newer connection with the same key",
            labels=["channel"],
        )
        for name in names:
            stream = self._hub.streams.get(name) or Stream(name)
            stats = stream.stats
            live.add_metric([name], stream.state is StreamState.LIVE)
            holding.add_metric([name], stream.state is StreamState.HOLDING)
            expected.add_metric([name], self._expected(name))
            held.add_metric([name], stats.total_held_s())
            packets.add_metric([name, "video"], stats.video_packets)
            packets.add_metric([name, "audio"], stats.audio_packets)
            takeovers.add_metric([name], stats.takeovers)
            if stream.state is not StreamState.OFFLINE:
                interval.add_metric([name], stats.keyframe_interval_ms / 1000)
                lag.add_metric([name], stats.arrival_lag_ms / 1000)
        yield from (live, holding, expected, held, packets, interval, lag, takeovers)

    def _about_publishers(self, names: list[str]) -> Iterator[Metric]:
        received = CounterMetricFamily("relay_ingest_bytes", "Bytes received from publishers", labels=["channel"])
        rtt = GaugeMetricFamily(
            "relay_ingest_tcp_rtt_seconds",
            "Round-trip time to the publisher as the kernel sees it",
            labels=["channel"],
        )
        connects = CounterMetricFamily(
            "relay_publisher_connects", "Attempts to publish or play, by outcome", labels=["channel", "outcome"]
        )
        limits = CounterMetricFamily("relay_limit_hits", "How often a limit was met", labels=["limit"])
        connected = GaugeMetricFamily(
            "relay_publisher_connected", "1 while a publisher is connected, sending or not", labels=["channel"]
        )
        for name in names:
            received.add_metric([name], self._links.bytes_received[name])
            publisher = self._links.publisher(name)
            connected.add_metric([name], publisher is not None)
            if publisher is not None and publisher.rtt_s is not None:
                rtt.add_metric([name], publisher.rtt_s)
        for (channel, outcome), count in self._admission.outcomes.items():
            connects.add_metric([channel, outcome], count)
        for limit, count in self._limit_hits().items():
            limits.add_metric([limit], count)
        rate = GaugeMetricFamily(
            "relay_ingest_kbps", "Bitrate that arrived from the publisher, in kbit/s", labels=["channel", "window"]
        )
        suggested = GaugeMetricFamily(
            "relay_ingest_suggested_kbps", "Bitrate the publisher's link would bear, in kbit/s", labels=["channel"]
        )
        stalls = GaugeMetricFamily(
            "relay_ingest_stalls", "Times the media stopped in the last minute", labels=["channel"]
        )
        repeats = GaugeMetricFamily(
            "relay_ingest_tcp_out_of_order_packets",
            "TCP packets of the present connection that came out of order: repeats, on a link that loses",
            labels=["channel"],
        )
        for name in names:
            health = self._links.health(name)
            rate.add_metric([name, "10s"], health.kbps_10s)
            rate.add_metric([name, "60s"], health.kbps_60s)
            suggested.add_metric([name], health.suggested_kbps)
            stalls.add_metric([name], health.stalls)
            publisher = self._links.publisher(name)
            if publisher is not None:
                repeats.add_metric([name], publisher.out_of_order)
        yield from (rate, suggested, stalls, repeats)
        count = self._rtmp.stats.open + self._hls.stats.open
        open_now = _gauge("relay_ingest_connections", "Open connections of encoders and players", count)
        segments = CounterMetricFamily(
            "relay_hls_segments", "Segments that publishers uploaded, by what became of them", labels=["outcome"]
        )
        add_counts(segments, [], self._hls.stats.segments)
        restarts = CounterMetricFamily(
            "relay_hls_demux_restarts", "Children reading HLS segments that died or were ended, and were replaced"
        )
        restarts.add_metric([], self._hls.demuxer.stats.restarts)
        yield from (received, connected, rtt, connects, limits, open_now, segments, restarts)

    def _about_sources(self, names: list[str]) -> Iterator[Metric]:
        up = GaugeMetricFamily("relay_source_up", "1 while the channel's source sends media", labels=["channel"])
        attempts = CounterMetricFamily(
            "relay_source_attempts", "Finished attempts at the channel's source", labels=["channel", "outcome"]
        )
        for name in names:
            status = self._pulls.status(name)
            if status is not None:
                up.add_metric([name], status.state is SourceState.LIVE)
                add_counts(attempts, [name], status.outcomes)
        yield from (up, attempts)

    def _about_destinations(self, names: list[str]) -> Iterator[Metric]:
        labels = ["channel", "destination"]
        up = GaugeMetricFamily("relay_destination_up", "1 while the destination takes media", labels=labels)
        enabled = GaugeMetricFamily("relay_destination_enabled", "1 unless an operator disabled it", labels=labels)
        sent = CounterMetricFamily("relay_destination_bytes", "Bytes handed to the network", labels=labels)
        attempts = CounterMetricFamily(
            "relay_destination_attempts", "Finished attempts by outcome", labels=[*labels, "outcome"]
        )
        dropped = CounterMetricFamily(
            "relay_destination_dropped_packets",
            "Packets the destination was too slow for",
            labels=[*labels, "reason"],
        )
        unsuited = GaugeMetricFamily(
            "relay_ingest_lint",
            "Destinations that the channel's stream does not suit, by rule",
            labels=["channel", "rule"],
        )
        cpu = CounterMetricFamily(
            "relay_fit_cpu_seconds", "Processor time of the channel's transcoders", labels=["channel"]
        )
        failures = CounterMetricFamily(
            "relay_fit_failures", "Transcoders that failed or hung, and were replaced", labels=["channel"]
        )
        children = GaugeMetricFamily("relay_fit_running", "Transcoders at work", labels=["channel"])
        backlog = GaugeMetricFamily(
            "relay_destination_backlog_seconds", "Media time waiting for the destination", labels=labels
        )
        for name in names:
            fitting = self._egress.fitting(name)
            for rule, count in Counter(item.rule for item in self._egress.findings(name)).items():
                unsuited.add_metric([name, rule], count)
            cpu.add_metric([name], fitting.cpu_s)
            failures.add_metric([name], fitting.failures)
            children.add_metric([name], len(fitting.children))
            for status in self._egress.status(name):
                at = [name, status.name]
                up.add_metric(at, status.state is DestinationState.LIVE)
                enabled.add_metric(at, status.state is not DestinationState.DISABLED)
                sent.add_metric(at, status.bytes_sent)
                backlog.add_metric(at, status.backlog_s)
                add_counts(attempts, at, status.outcomes)
                add_counts(dropped, at, status.dropped_packets)
        yield from (up, enabled, sent, attempts, dropped, backlog, unsuited, cpu, failures, children)

    def _about_webhooks(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "relay_webhook_events", "Events told to a webhook, or given up", labels=["webhook", "outcome"]
        )
        failures = CounterMetricFamily(
            "relay_webhook_failures", "Attempts at a webhook that failed", labels=["webhook"]
        )
        waiting = GaugeMetricFamily("relay_webhook_waiting", "Events not told yet", labels=["webhook"])
        for name, (stats, many) in self._hooks.stats().items():
            events.add_metric([name, "delivered"], stats.delivered)
            events.add_metric([name, "dropped"], stats.dropped)
            failures.add_metric([name], stats.failures)
            waiting.add_metric([name], many)
        yield from (events, failures, waiting)

    def _about_viewers(self, names: list[str]) -> Iterator[Metric]:
        viewers = GaugeMetricFamily(
            "relay_viewers", "Connections that asked for a live playlist in the last 30 s", labels=["channel"]
        )
        sent = CounterMetricFamily("relay_viewer_bytes", "Bytes of live playback sent", labels=["channel"])
        requests = CounterMetricFamily("relay_viewer_requests", "What viewers asked for", labels=["channel", "kind"])
        for name in names:
            watched = self._watched(name)
            viewers.add_metric([name], watched.viewers)
            sent.add_metric([name], watched.bytes_sent)
            add_counts(requests, [name], watched.requests)
        kept = _gauge("relay_viewer_kept_bytes", "Media kept in memory for viewers", self._kept_bytes())
        yield from (viewers, sent, requests, kept)

    def _about_archive(self, archive: Archive) -> Iterator[Metric]:
        stats = archive.stats
        segments = CounterMetricFamily("relay_archive_segments", "Segments that reached each state", labels=["state"])
        add_counts(segments, [], stats.segments)
        stored = CounterMetricFamily("relay_archive_stored_bytes", "Bytes verified in the object store")
        stored.add_metric([], stats.stored_bytes)
        words = "Age of the oldest closed segment not yet in the store"
        oldest = _gauge("relay_archive_oldest_unstored_seconds", words, archive.oldest_unstored_s())
        spool = _gauge("relay_archive_spool_bytes", "Bytes on the spool disk", archive.spool_bytes)
        errors = CounterMetricFamily("relay_archive_store_errors", "Store requests that failed", labels=["error"])
        add_counts(errors, [], stats.store_errors)
        gaps = CounterMetricFamily("relay_archive_gaps", "Gaps written down, by reason", labels=["reason"])
        add_counts(gaps, [], stats.gaps)
        missing = CounterMetricFamily(
            "relay_archive_gap_seconds", "Missing time written down, by reason", labels=["reason"]
        )
        for reason, seconds in stats.gap_s.items():
            missing.add_metric([reason], seconds)
        yield from (segments, stored, oldest, spool, errors, gaps, missing)
        for name, words, count in (
            ("relay_archive_spool_errors", "Commits the spool disk refused", archive.spool_errors),
            ("relay_archive_catalog_errors", "Catalog changes that failed and were tried again", stats.catalog_errors),
            ("relay_archive_paused", "Times a recording was paused for want of space", stats.paused),
            ("relay_archive_refused", "Recordings not begun for want of space", stats.refused),
            ("relay_archive_lost_in_store", "Objects the store lost, uploaded again", stats.lost_in_store),
        ):
            counter = CounterMetricFamily(name, words)
            counter.add_metric([], count)
            yield counter
        for name, words, value in (
            ("relay_archive_disk_free_bytes", "Free on the spool disk", archive.disk.space.free),
            ("relay_archive_disk_size_bytes", "Size of the spool disk", archive.disk.space.total),
            ("relay_archive_disk_reserve_bytes", "To be kept free on the spool disk", archive.disk.reserve),
            ("relay_archive_recordings_paused", "Recordings paused for want of space", len(archive.disk.paused)),
        ):
            yield _gauge(name, words, value)
        yield _durations(
            "relay_archive_store_delay_seconds", "From a segment's close to its verified copy in the store", stats.delay
        )
        yield _durations(
            "relay_archive_commit_seconds", "Time the spool disk took for a round of commits", archive.commit_delay
        )


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words)
    family.add_metric([], value)
    return family


def _durations(name: str, words: str, durations: Durations) -> HistogramMetricFamily:
    cumulated, buckets = 0, []
    for bound, count in zip((*(str(bound) for bound in durations.bounds), "+Inf"), durations.counts, strict=True):
        cumulated += count
        buckets.append((bound, cumulated))
    family = HistogramMetricFamily(name, words)
    family.add_metric([], buckets=buckets, sum_value=durations.sum_s)
    return family


def add_counts(family: CounterMetricFamily, labels: list[str], counts: Mapping[str, int]) -> None:
    """One sample of ``family`` per (last label, count) of ``counts``."""
    for value, count in counts.items():
        family.add_metric([*labels, value], count)


def render(*collectors: Collector) -> tuple[bytes, str]:
    """The exposition (Prometheus text format) and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    ProcessCollector(registry=registry)  # processor time, memory and open files, as everybody names them
    return generate_latest(registry), CONTENT_TYPE_LATEST
