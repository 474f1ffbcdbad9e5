"""Sources: what each destination of one channel reads: the stream itself, made to fit, with its holes filled in."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import structlog

from relay.egress.base import DestinationConfig, FitConfig
from relay.egress.fit import FittedStream
from relay.errors import SlateError
from relay.hub import BacklogLimit, Stream, StreamState, Ticker
from relay.hub.batch import Tracks
from relay.hub.filler import Loop
from relay.hub.hold import Filling, HeldStream

STEADY_FPS = 30.0
log = structlog.get_logger("relay.egress")

Fit = tuple[FitConfig, bool]
"""What a fitted stream is made of: the shape, and whether silence is ensured."""
Held = tuple[FitConfig | None, Filling, str]
"""What a held stream is made of: the shape, what is filled in, and the slate's file name."""


class Sources:
    """Made on demand while ``stream`` lives; destinations that want the same share it, and its encoded bytes."""

    def __init__(self, stream: Stream, ticker: Ticker, limit: BacklogLimit, slates: Path) -> None:
        self._stream = stream
        self._ticker = ticker
        self._limit = limit
        self._slates = slates
        self._fitted: dict[Fit, FittedStream] = {}
        self._whole: dict[Fit, HeldStream] = {}  # what transcoders read: no track starves there
        self._held: dict[Held, HeldStream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: dict[tuple[str, int, Tracks], Loop | None] = {}
        self._cpu_s = 0.0  # of fitted streams that are gone
        self._failures = 0

    def of(self, config: DestinationConfig) -> Stream:
        """The stream a destination configured so reads."""
        fit, filling, slate = key = _key(config)
        source = self._stream if fit is None else self._fit((fit, filling.sound)).out
        if not filling.hold and not filling.sound:
            return source
        held = self._held.get(key)
        if held is None or held.is_over:
            held = self._held[key] = HeldStream(source, filling, self._ticker, away_since=self._away_since)
            if self._is_away():
                self._hold(held, slate)
        return held.out

    def keep(self, configs: Iterable[DestinationConfig]) -> None:
        """Let go of what none of ``configs`` reads."""
        wanted = {_key(config) for config in configs if config.enabled}
        for key in [key for key in self._held if key not in wanted]:
            self._held.pop(key).close()
        fits = {(fit, filling.sound) for fit, filling, _ in wanted if fit is not None}
        for old in [old for old in self._fitted if old not in fits]:
            self._let_go(self._fitted.pop(old))
            self._whole.pop(old).close()

    def hold(self) -> None:
        """The publisher is gone or stalled."""
        for fitted in self._fitted.values():
            fitted.flush()
        for (_, _, slate), held in self._held.items():
            self._hold(held, slate)

    async def close(self) -> None:
        """End everything; returns when every child is reaped."""
        self.keep(())
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- for metrics ------------------------------------------------------------------------------------------------

    @property
    def cpu_s(self) -> float:
        """Processor seconds of all transcoders so far."""
        return self._cpu_s + sum(fitted.cpu_s for fitted in self._fitted.values())

    @property
    def failures(self) -> int:
        """Transcoders that failed and were replaced."""
        return self._failures + sum(fitted.failures for fitted in self._fitted.values())

    @property
    def children(self) -> list[int]:
        """Process ids of the transcoders that run."""
        return [fitted.pid for fitted in self._fitted.values() if fitted.pid]

    # --- inside -----------------------------------------------------------------------------------------------------

    def _is_away(self) -> bool:
        return self._stream.state is StreamState.HOLDING

    def _away_since(self) -> float | None:
        return self._stream.stats.last_packet_at if self._is_away() else None

    def _fit(self, key: Fit) -> FittedStream:
        fitted = self._fitted.get(key)
        if fitted is None or fitted.is_over:
            fit, sound = key
            # A track that starves would starve the transcoder's other one, too. The publisher's own absence is filled
            # in behind it: that costs no transcoding.
            whole = self._whole.get(key)
            if whole is None or whole.is_over:
                whole = self._whole[key] = HeldStream(self._stream, Filling(sound=sound), self._ticker)
            fitted = self._fitted[key] = FittedStream(whole.out, fit, self._limit, self._is_away)
            fitted.on_silence = lambda: self._silent(key)
        return fitted

    def _silent(self, key: Fit) -> None:
        for (own, filling, slate), held in self._held.items():
            if (own, filling.sound) == key:
                self._hold(held, slate)

    def _let_go(self, fitted: FittedStream) -> None:
        self._cpu_s += fitted.cpu_s
        self._failures += fitted.failures
        fitted.close()
        self._tasks.add(fitted.task)
        fitted.task.add_done_callback(self._tasks.discard)

    def _hold(self, held: HeldStream, slate: str) -> None:
        was_held = held.is_held
        held.hold()
        if slate and held.is_held and not was_held:
            task = asyncio.get_running_loop().create_task(self._show_slate(held, slate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _show_slate(self, held: HeldStream, name: str) -> None:
        """Encode the slate to the stream's own format, once; the last picture stands until it is there."""
        from relay.egress.slate_worker import make_slate_apart  # with a codec library, which few need

        tracks = held.out.tracks
        video, audio = tracks
        if video is None:
            return
        path = self._slates / name
        try:
            made_at = path.stat().st_mtime_ns
        except OSError:
            made_at = 0  # not there, which making it will say
        key = (name, made_at, tracks)
        if key not in self._loops:
            try:
                slate = await asyncio.to_thread(make_slate_apart, path, video, audio)
            except SlateError as error:
                log.error("no slate, the last picture stays", channel=self._stream.name, slate=name, reason=str(error))
                self._loops[key] = None
            else:
                self._loops[key] = Loop(slate.packets, slate.length_ms)
                if slate.is_cut:
                    log.warning("the slate is cut to its first 30 s", channel=self._stream.name, slate=name)
        loop = self._loops[key]
        if loop is not None and held.is_held and held.out.tracks == tracks:
            held.show(loop)


def _key(config: DestinationConfig) -> Held:
    fit = config.fit
    if config.change == "transcode":
        # The rate is part of the header, which must stay whatever comes.
        fit = FitConfig(fps=STEADY_FPS) if fit is None else replace(fit, fps=fit.fps or STEADY_FPS)
    # A platform that must see no change gets no slate: its header is another.
    slate = config.hold.slate if config.hold.mode == "slate" and config.change == "send" else ""
    return fit, Filling(hold=config.hold.mode != "off", sound=config.needs_audio), slate
