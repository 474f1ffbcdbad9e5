"""A real spool part, cut at every byte of its tail or with a bit there flipped: all before the tear comes back."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from relay.archive.spool import Commit, commits, read_part, recover
from tests.chaos.bench import Bench
from tests.chaos.house import House
from tests.support import clips
from tests.support.listing import Item, Listing, digest
from tests.support.publisher import Publisher

CUT_BYTES = 8192
FLIPPED_BYTES = 1024
LENGTH_MS = 3000
PICTURES = clips.Clip("torn", clips.H264_B.video, clips.H264_B.audio, 8)
SOUND = clips.Clip("torn-sound", (), clips.AUDIO_ONLY.audio, 8)  # small commits: a tail holds several


class Tear(NamedTuple):
    """Cut off from byte ``at`` on, or, with a ``bit``, that bit of byte ``at`` flipped."""

    at: int
    bit: int | None = None

    def of(self, data: bytes) -> bytes:
        if self.bit is None:
            return data[: self.at]
        return data[: self.at] + bytes((data[self.at] ^ 1 << self.bit,)) + data[self.at + 1 :]


class Whole(NamedTuple):
    """A part as it was: its bytes, its commits, and what was sent for it."""

    data: bytes
    commits: list[Commit]
    sent: list[Item]

    def tears(self) -> list[Tear]:
        length = len(self.data)
        flips = [Tear(at, bit) for at in range(length - FLIPPED_BYTES, length) for bit in range(8)]
        return [*(Tear(at) for at in range(length - CUT_BYTES, length + 1)), *flips]

    def good(self, tear: Tear) -> Commit:
        """The last commit before the tear."""
        return [commit for commit in self.commits if commit.end <= tear.at][-1]


async def run(bench: Bench) -> None:
    """Each tear by itself, read back in this process; some of them, all at once, by a relay that starts on them."""
    house = House(bench)
    await house.relay.start()
    sending = [await _publisher(house, "pictures", PICTURES), await _publisher(house, "sound", SOUND)]
    await asyncio.gather(*(publisher.send(file, until_ms=LENGTH_MS) for _, publisher, file in sending))
    house.relay.kill()
    wholes = [await _left(house, channel, publisher) for channel, publisher, _ in sending]
    wrong: list[str] = []
    looked_at = 0
    for whole in wholes:
        tears = whole.tears()[:: bench.times(1, 37)]
        looked_at += len(tears)
        wrong += await asyncio.to_thread(_read_back, bench.folder / "torn.flv.part", whole, tears)
    tails = [sum(1 for commit in whole.commits if commit.end > len(whole.data) - CUT_BYTES) for whole in wholes]
    bench.figure("tears read back, commits in the tails", f"{looked_at}, {tails}", "several", max(tails) > 1)
    bench.figure("not exactly what was good before the tear", "; ".join(wrong[:3]) or 0, "0", not wrong)
    torn = [(whole, tear) for whole in wholes for tear in random.sample(whole.tears(), bench.times(100, 6))]
    wrong = await _recover(house, torn)
    bench.figure("recordings recovered by a relay", len(torn), "> 0", True)
    bench.figure("not exactly what was good before the tear", "; ".join(wrong[:3]) or 0, "0", not wrong)


async def _publisher(house: House, channel: str, clip: clips.Clip) -> tuple[str, Publisher, Path]:
    """A new channel with its publisher connected, and what it shall send."""
    file = await asyncio.to_thread(clips.make, clip)
    publisher = Publisher(house.relay.publish_url(await house.relay.add_channel(channel)))
    await publisher.open()
    return channel, publisher, file


async def _left(house: House, channel: str, publisher: Publisher) -> Whole:
    """The part that the killed relay left of what ``publisher`` sent."""
    await publisher.abort()
    path = next((house.relay.data / "spool" / channel).glob("*/*.flv.part"))
    data = path.read_bytes()
    return Whole(data, list(commits(data)), publisher.sent.items)


def _read_back(path: Path, whole: Whole, tears: Sequence[Tear]) -> list[str]:
    """Those of ``tears`` after which the part does not give back what it must."""
    wrong = []
    digests = [item.digest for item in whole.sent]
    for tear in tears:
        path.write_bytes(tear.of(whole.data))
        good = whole.good(tear)
        part = read_part(path)
        if part is None or recover(path) != good.end or part.verified_length != good.end:
            wrong.append(f"{tear}: not up to {good.end}")
        elif [digest(packet.data) for packet in part.packets] != digests[: good.packets]:
            wrong.append(f"{tear}: other packets")
    return wrong


async def _recover(house: House, torn: Sequence[tuple[Whole, Tear]]) -> list[str]:
    """Let a relay find all the torn parts at its start; those that do not become what they must."""
    for number, (whole, tear) in enumerate(torn):
        folder = house.relay.data / "spool" / f"torn{number}" / f"20261125T120000Z-{number:06x}"
        folder.mkdir(parents=True)
        (folder / "000000.flv.part").write_bytes(tear.of(whole.data))
    await house.relay.start()
    wrong = []
    for number, (whole, tear) in enumerate(torn):
        found = [kept.listing() for _, kept in await house.whole(f"torn{number}", some=True)]
        if len(found) != 1 or not _same(whole.sent[: whole.good(tear).packets], found[0]):
            wrong.append(f"{tear} in torn{number}")
    await house.relay.stop()
    return wrong


def _same(sent: Sequence[Item], got: Listing) -> bool:
    """Whether each track has the same packets in the same order."""
    return all(
        [item.digest for item in got.track(name)] == [item.digest for item in sent if item.track == name]
        for name in ("video", "audio")
    )
