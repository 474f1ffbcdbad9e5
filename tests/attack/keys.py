"""Guessing stream keys, from one address and from many."""

from typing import Any

from tests.attack.honest import Honest, result
from tests.bench.figures import percentile
from tests.chaos.bench import Bench

A_MINUTE = 10
MOST_MS = 500.0


async def run(bench: Bench) -> None:
    async with Honest(bench) as honest:
        first_s = await honest.publishes()
        for addresses, each in ((1, bench.times(500, 60)), (200, 12)):
            guessing = honest.begin("guess", addresses=addresses, each=each)
            known = honest.begin_honest("connects", keys=[honest.spare], count=bench.times(20, 4), every_s=0.25)
            await known.done(60)
            await guessing.done(120)
            seen: dict[str, Any] = result(guessing)
            minutes = 1 + int(seen["took_s"] // 60)
            bench.figure(
                f"guesses from {addresses} address{'es' if addresses > 1 else ''}, {each} each:"
                f" tried of one address in {seen['took_s']:.0f} s ({seen['answers']})",
                seen["most from one"],
                f"≤ {A_MINUTE} a minute",
                seen["most from one"] <= A_MINUTE * minutes,
            )
            p99_ms = 1000 * percentile(result(known)["took"] or [float("inf")], 0.99)
            refused = sum(result(known)["failed"].values())
            bench.figure("honest connects meanwhile: refused", refused, "0", not refused)
            bench.timed("honest connects meanwhile: p99", f"{p99_ms:.0f} ms", f"≤ {MOST_MS:.0f} ms", p99_ms <= MOST_MS)
        # Behind one carrier's address: strangers have used up what it may guess, and a phone comes back.
        seen = await honest.strangers("guess", addresses=0, each=3 * A_MINUTE)
        again_s = await honest.publishes()
        bench.figure(
            f"a phone that comes back to an address whose guesses are used up ({seen['answers']})",
            f"live after {again_s:.1f} s ({first_s:.1f} before)",
            "gets in",
            True,
        )
        outcomes = await honest.relay.metrics()
        throttled = outcomes['relay_limit_hits_total{limit="auth_failures"}']
        bench.figure("relay_limit_hits_total, auth_failures", f"{throttled:.0f}", "> 0", throttled > 0)
