"""A spool disk whose fdatasync fails (EIO), and one that takes two seconds for each: strace injects both."""

import asyncio

from tests.chaos.bench import Bench
from tests.chaos.house import MINUTE, House
from tests.chaos.injected import attach, told_too_early
from tests.support import clips
from tests.support.ledger import Attempt
from tests.support.publisher import Publisher
from tests.support.relay import ApiError

FAIL = "inject=fdatasync:error=EIO"
STALL = "inject=fdatasync:delay_enter=2000000"
LAG = "relay_event_loop_lag_seconds"
SLOW = 4  # publishers to the slow disk


async def run(bench: Bench) -> None:
    house = House(bench, ARCHIVE__SEGMENT_S=2)
    await house.relay.start()
    await asyncio.to_thread(clips.make, MINUTE)
    early = 0
    for number in range(bench.times(5, 1)):
        early += await _now_and_again(bench, house, f"again{number}")
        early += await _for_good(bench, house, f"failing{number}")
    bench.figure("acknowledged without a sync that worked (EIO)", early, "0", early == 0)
    await _stalls(bench, house)
    house.findings.show(bench)
    await house.relay.stop()


async def _publish(house: House, channel: str) -> tuple[Publisher, asyncio.Task[None]]:
    """A new channel's publisher, sending in real time."""
    publisher = Publisher(house.relay.publish_url(await house.relay.add_channel(channel)))
    await publisher.open()
    return publisher, asyncio.create_task(publisher.send(clips.make(MINUTE)))


async def _goodbye(publisher: Publisher, sending: asyncio.Task[None]) -> None:
    """Stop sending between two messages, and close in good order."""
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await publisher.close()


async def _compare(house: House, channel: str, publisher: Publisher, *, whole: bool) -> None:
    attempt = Attempt(publisher.sent.items, publisher.ends, publisher.acknowledged, whole)
    await house.compare(channel, [attempt])


async def _now_and_again(bench: Bench, house: House, channel: str) -> int:
    """Every fourth sync fails: parts are given up, others begun, and in the end all is there."""
    publisher, sending = await _publish(house, channel)
    before = (await house.relay.metrics())["relay_archive_spool_errors_total"]
    injection = await attach(bench, house.relay, f"{FAIL}:when=2+4")
    await injection.failures(bench.times(6, 2))
    await injection.end()
    await _goodbye(publisher, sending)
    counted = (await house.relay.metrics())["relay_archive_spool_errors_total"] - before
    failed = sum(not sync.worked for sync in injection.syncs())
    again = injection.synced_after_failure()
    bench.figure("syncs that failed, commits counted as refused", f"{failed}, {counted:.0f}", "≥", counted >= failed)
    bench.figure("files synced again after that", ", ".join(again) or 0, "0", not again)
    await _compare(house, channel, publisher, whole=True)
    return told_too_early(publisher, channel, injection)


async def _for_good(bench: Bench, house: House, channel: str) -> int:
    """From some time on every sync fails, the relay says so, and is killed: only what was told before is owed."""
    publisher, sending = await _publish(house, channel)
    injection = await attach(bench, house.relay, FAIL)
    await injection.failures(1)
    await asyncio.sleep(1.0)  # an Acknowledgement of what was synced before may be on its way
    told = len(publisher.told)
    await asyncio.sleep(bench.times(5, 2))
    more = len(publisher.told) - told
    bench.figure("Acknowledgements while nothing can be synced", more, "0", more == 0)
    try:
        said = (await house.relay.fetch("/readyz")).decode()
        ready = True
    except ApiError as error:
        said, ready = error.body.strip(), error.status != 503
    bench.figure("/readyz meanwhile", said[:60], "503 and why", not ready and "spool disk fails" in said)
    again = injection.synced_after_failure()
    bench.figure("files synced again after a failure", ", ".join(again) or 0, "0", not again)
    house.relay.kill()
    await injection.end()
    await asyncio.gather(sending, return_exceptions=True)
    await publisher.abort()
    await house.relay.start()
    await _compare(house, channel, publisher, whole=False)
    return told_too_early(publisher, channel, injection)


async def _stalls(bench: Bench, house: House) -> None:
    """Two seconds for each sync: the loop does not notice, and nothing is acknowledged that is not on disk."""
    names = [f"slow{number}" for number in range(SLOW)]
    publishers = [await _publish(house, name) for name in names]
    seconds = bench.times(20, 4)
    usual_s = await _lag_p99(house, seconds / 2)
    injection = await attach(bench, house.relay, STALL)
    lag_s = await _lag_p99(house, seconds)
    await injection.stalled(2)
    await injection.end()
    for publisher, sending in publishers:
        await _goodbye(publisher, sending)
    early = sum(
        told_too_early(publisher, name, injection) for name, (publisher, _) in zip(names, publishers, strict=True)
    )
    slow = [sync.ended - sync.began for sync in injection.syncs() if sync.call == "fdatasync"]
    shown = f"{len(slow)}, {min(slow):.1f} s or more"
    bench.figure("syncs that stalled", shown, "> 1, 2 s", len(slow) > 1 and min(slow) > 1.9)
    bench.figure("acknowledged before it was on disk", early, "0", early == 0)
    shown = f"{lag_s * 1000:.0f} ms ({usual_s * 1000:.0f} ms before)"
    bench.timed("loop lag p99 while the disk stalls", shown, "≤ 20 ms, or as before", lag_s <= max(0.02, usual_s))
    for name, (publisher, _) in zip(names, publishers, strict=True):
        await _compare(house, name, publisher, whole=True)


async def _lag_p99(house: House, seconds: float) -> float:
    """The loop's lag over some seconds from now, as its histogram has it: an upper bound in seconds."""
    before = await house.relay.metrics()
    await asyncio.sleep(seconds)
    after = await house.relay.metrics()
    buckets = {
        float(name.partition('le="')[2].rstrip('"}')): count - before[name]
        for name, count in after.items()
        if name.startswith(f"{LAG}_bucket")
    }
    total = max(buckets.values())
    return min(bound for bound, count in buckets.items() if count >= 0.99 * total)
