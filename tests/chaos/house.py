"""House: a real relay on one data directory, killed and started again, and its recordings once they are whole."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.bench import Bench
from tests.support import clips
from tests.support.ledger import Attempt, Encoder, Tag, Verdict, judge, untold_ms
from tests.support.listing import Listing, tags
from tests.support.probe import probe
from tests.support.recording import Part, Recording, read_folder
from tests.support.relay import Relay

MINUTE = clips.Clip("minute", clips.H264_B.video, clips.H264_B.audio, seconds=60)
WITHIN_S = 60.0


@dataclass
class Findings:
    """What all the recordings looked at have shown together."""

    verdict: Verdict = field(default_factory=Verdict)
    recordings: int = 0
    untold_ms: float = 0.0  # the worst
    unplayable: list[str] = field(default_factory=list)
    probed: int = 0
    wrong: list[str] = field(default_factory=list)  # channels with violations, and which
    split: list[str] = field(default_factory=list)  # channels whose event is more than one recording

    def show(self, bench: Bench) -> None:
        """The promises every kill must keep, as figures."""
        verdict = self.verdict
        bench.figure(
            "recordings compared, messages sent", f"{self.recordings}, {verdict.sent}", "> 0", verdict.sent > 0
        )
        bench.figure("messages acknowledged", verdict.acknowledged, "> 0", verdict.acknowledged > 0)
        bench.figure("acknowledged messages lost", verdict.lost, "0", verdict.lost == 0)
        bench.figure("duplicates", verdict.duplicates, "0", verdict.duplicates == 0)
        others = verdict.violations - verdict.lost - verdict.duplicates
        bench.figure("invented, out of order or place, holes", others, "0", others == 0)
        bench.figure("channels with a violation", "; ".join(self.wrong[:3]) or 0, "0", not self.wrong)
        bench.figure("events in more than one recording", ", ".join(self.split) or 0, "0", not self.split)
        bench.figure("media + gaps off from recorded time", f"{self.untold_ms:.0f} ms", "≤ 34 ms", self.untold_ms <= 34)
        played = "; ".join(self.unplayable[:3]) or 0
        bench.figure(f"segments ffprobe complains of ({self.probed} probed)", played, "0", not self.unplayable)


class House:
    """The relay, and what was published to it."""

    def __init__(self, bench: Bench, **settings: object) -> None:
        self.bench = bench
        self.relay = Relay(bench.processes, bench.folder / "data", **settings)
        self.findings = Findings()
        self._tags: list[Tag] = []

    async def encoder(self, channel: str) -> Encoder:
        """A new channel, and an encoder that has a minute of media for it."""
        if not self._tags:
            clip = await asyncio.to_thread(clips.make, MINUTE)
            self._tags = [tag for tag in tags(clip.read_bytes()) if tag[2][1] in (0, 1)]
        added = await self.relay.add_channel(channel)
        return Encoder(self.relay.publish_url(added), self._tags)

    async def recordings(self, channel: str) -> list[dict[str, Any]]:
        """The channel's recordings as the API has them, newest first."""
        found: list[dict[str, Any]] = (await self.relay.api("GET", f"/recordings?channel={channel}"))["recordings"]
        return found

    def stored(self, shown: dict[str, Any]) -> Path:
        """Where the store has it."""
        return self.relay.data / "archive" / shown["channel"] / shown["id"]

    async def whole(self, channel: str, *, some: bool = False) -> list[tuple[dict[str, Any], Recording]]:
        """The channel's recordings (with ``some``: at least one) once all are complete and in the store in full."""
        until = time.monotonic() + WITHIN_S
        while True:
            shown = await self.recordings(channel)
            if (shown or not some) and all(
                item["state"] == "complete" and item["segments_stored"] == item["segments"] for item in shown
            ):
                try:
                    found = [(item, read_folder(self.stored(item))) for item in shown]
                except FileNotFoundError:
                    found = []
                if len(found) == len(shown) and all(
                    "#EXT-X-ENDLIST" in kept.playlist and len(kept.parts) == item["segments"] for item, kept in found
                ):
                    return found
            assert time.monotonic() < until, (
                f"{channel} is not whole after {WITHIN_S} s: {shown}\n{self.relay.log[-4000:]}"
            )
            await asyncio.sleep(0.1)

    async def compare(self, channel: str, attempts: list[Attempt], *, probed: int = 2) -> Listing:
        """Hold what the archive has of ``channel`` against what was sent; the worst goes into ``findings``."""
        findings = self.findings
        found = await self.whole(channel)
        if len(found) > 1:
            findings.split.append(channel)
        got = Listing([item for _, kept in reversed(found) for item in kept.listing().items])
        findings.recordings += len(found)
        verdict = judge(attempts, got)
        findings.verdict += verdict
        for shown, kept in found:
            findings.untold_ms = max(findings.untold_ms, untold_ms(kept, shown["gap_s"]))
            for part in (kept.parts[0], kept.parts[-1])[:probed]:
                if not _starts_with_keyframe(part):
                    # Nothing can be decoded from here by itself; the playlist must say so.
                    if "#EXT-X-INDEPENDENT-SEGMENTS" in kept.playlist:
                        findings.unplayable.append(f"{channel} {part.name}: starts without a keyframe, not flagged")
                    continue
                findings.probed += 1
                path = self.bench.folder / "probed.mp4"
                path.write_bytes(part.init + part.data)
                try:
                    await probe(path)
                except AssertionError as error:
                    findings.unplayable.append(f"{channel} {part.name}: {error}")
        if verdict.violations:
            findings.wrong.append(f"{channel}: {verdict}")
        return got


def _starts_with_keyframe(part: Part) -> bool:
    items = Recording("", [part]).listing()
    return all(track[0].is_keyframe for track in (items.track("video"), items.track("audio")) if track)
