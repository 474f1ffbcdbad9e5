"""Chunks as no encoder sends them: sizes, messages that never end, empty ones, one byte at a time."""

import asyncio

from tests.attack.honest import PHONES, Honest, Watch, spare_key
from tests.chaos.bench import Bench

MOST_MIB = 32.0
MOST_SHARE = 10.0
ENDED = ["0", "1", "127", str(1 << 31)]
LARGEST = str((1 << 31) - 1)


async def run(bench: Bench) -> None:
    async with Honest(bench) as honest:
        closed = (await honest.strangers("chunk_sizes"))["closed"]
        bad = [size for size in ENDED if not closed[size]]
        bench.figure("chunk sizes 0, 1, 127 and 2^31 taken", ", ".join(bad) or 0, "0", not bad)
        bench.figure("chunk size 2^31-1", "ended" if closed[LARGEST] else "clamped", "clamped", not closed[LARGEST])
        await _half_sent(bench, honest)
        await _floods(bench, honest)


async def _half_sent(bench: Bench, honest: Honest) -> None:
    """200 connections with 64 messages each that never end: too large ones, and such as might be."""
    many = bench.times(200, 60)
    common = {"connections": many, "streams": 63, "hold_s": bench.times(3, 1)}
    for what, how in (
        ("of 16 MiB", {"announced": (1 << 24) - 1, "most": 1 << 24}),
        ("of 4 MiB", {"announced": 1 << 22, "most": 1 << 22}),
        ("of 4 MiB, 48 KiB of them sent, and held", {"announced": 1 << 22, "most": 50_000}),
    ):
        async with Watch(honest.relay) as watch:
            seen = await honest.strangers("half_sent", **common, **how)
        bench.figure(
            f"{many} connections, 63 messages each {what}: memory"
            f" ({seen['open']} open, {seen['taken'] >> 20} MiB taken)",
            f"+ {watch.more_mib:.0f} MiB",
            f"≤ + {MOST_MIB:.0f} MiB",
            watch.more_mib <= MOST_MIB,
        )


async def _floods(bench: Bench, honest: Honest) -> None:
    """One connection at a time, which begins anew when it is ended; with a stream key and without."""
    async with Watch(honest.relay) as quiet:
        await asyncio.sleep(bench.times(5, 2))
    for kind, what in (
        ("empty", "empty messages of one byte"),
        ("short", "messages of one byte"),
        ("aborts", "aborts"),
        ("pings", "pings whose answers are not read"),
        ("bytes", "segments of one byte"),
    ):
        for key in ("", spare_key(PHONES)):
            async with Watch(honest.relay) as watch:
                seen = await honest.strangers("flood", seconds=bench.times(10, 1), kind=kind, key=key)
            share = watch.share - quiet.share
            who = "with a key" if key else "without a key"
            bench.figure(
                f"{what}, {who}: memory ({seen.get('connections', 0)} connections, {seen.get('bytes', 0) >> 10} KiB)",
                f"+ {watch.more_mib:.0f} MiB",
                f"≤ + {MOST_MIB:.0f} MiB",
                watch.more_mib <= MOST_MIB,
            )
            bench.timed(
                f"{what}, {who}: processor", f"{share:.0f} % of a core", f"≤ {MOST_SHARE:.0f} %", share <= MOST_SHARE
            )
