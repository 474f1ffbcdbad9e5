"""AMF bombs: what each costs the parser, by itself and in a relay, and that the relay says what is wrong with it."""

import contextlib
import time
import tracemalloc
from typing import Any

from relay.errors import ProtocolError
from relay.protocol.rtmp.chunk import write_message
from relay.protocol.rtmp.server import ServerConnection
from tests.attack.bombs import BOMBS, Bomb
from tests.attack.honest import Honest, Watch
from tests.attack.peers import GREETING
from tests.chaos.bench import Bench

MOST_MS, MOST_MIB = 5.0, 1.0
TRIES = 5


async def run(bench: Bench) -> None:
    _alone(bench)
    async with Honest(bench) as honest:
        rounds = bench.times(20, 2)
        async with Watch(honest.relay) as quiet:
            await honest.strangers("bombs", rounds=0)
        async with Watch(honest.relay) as watch:
            seen: dict[str, Any] = await honest.strangers("bombs", rounds=rounds)
        wrong = seen["wrong"]
        bench.figure(
            f"bombs ({len(BOMBS)} kinds) the relay did not answer as it must", ", ".join(wrong) or 0, "0", not wrong
        )
        each_ms = 1000 * (watch.cpu_s - quiet.share / 100 * watch.took_s) / (rounds * len(BOMBS))
        bench.timed(
            "processor time for one bomb and its connection",
            f"{each_ms:.2f} ms",
            f"≤ {MOST_MS:.0f} ms",
            each_ms <= MOST_MS,
        )
        bench.figure("memory of all of it", f"+ {watch.more_mib:.1f} MiB", "≤ + 32 MiB", watch.more_mib <= 32)


def _alone(bench: Bench) -> None:
    """Each bomb in a parser of its own: the best of some tries, for machines have other things to do."""
    took_ms = {bomb.name: min(_took_ms(bomb) for _ in range(TRIES)) for bomb in BOMBS}
    took_mib = {bomb.name: _memory_mib(bomb) for bomb in BOMBS}
    slowest = max(took_ms, key=lambda name: took_ms[name])
    largest = max(took_mib, key=lambda name: took_mib[name])
    bench.timed(
        f"parser: processor time of the worst bomb ({slowest})",
        f"{took_ms[slowest]:.2f} ms",
        f"≤ {MOST_MS:.0f} ms",
        took_ms[slowest] <= MOST_MS,
    )
    bench.figure(
        f"parser: memory of the worst bomb ({largest})",
        f"{took_mib[largest]:.2f} MiB",
        f"≤ {MOST_MIB:.0f} MiB",
        took_mib[largest] <= MOST_MIB,
    )
    wrong = [bomb.name for bomb in BOMBS if _ends(bomb) is not bomb.ends]
    bench.figure("parser: bombs that do not end as they must", ", ".join(wrong) or 0, "0", not wrong)


def _greeted() -> ServerConnection:
    server = ServerConnection(nonce=bytes(3072), now=0.0)
    server.receive(GREETING + GREETING[1:], 0.0)
    return server


def _message(bomb: Bomb) -> bytes:
    return write_message(20, 0, 0, bomb.payload, chunk_size=128, csid=3)


def _ends(bomb: Bomb) -> bool:
    try:
        _greeted().receive(_message(bomb), 0.0)
    except ProtocolError:
        return True
    return False


def _took_ms(bomb: Bomb) -> float:
    server, message = _greeted(), _message(bomb)
    began = time.thread_time()
    with contextlib.suppress(ProtocolError):
        server.receive(message, 0.0)
    return 1000 * (time.thread_time() - began)


def _memory_mib(bomb: Bomb) -> float:
    server, message = _greeted(), _message(bomb)
    tracemalloc.start()
    with contextlib.suppress(ProtocolError):
        server.receive(message, 0.0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 2**20
