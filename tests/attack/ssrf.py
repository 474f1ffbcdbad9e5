"""Server-side request forgery: every kind of outbound URL led to private addresses, beside an ear that counts connects.

All of it happens in a network of its own, with a name server of its own that answers as an attacker's would.
"""

import json
import sys

from tests.attack.addresses import LOCAL
from tests.chaos.bench import Bench
from tests.support.dns import own_network

WITHIN_S = 1800.0


async def run(bench: Bench) -> None:
    words = [sys.executable, "-m", "tests.attack.inside", str(bench.folder), *(["--quick"] if bench.quick else [])]
    inside = bench.processes.start(*own_network(bench.folder, *words, addresses=LOCAL), name="inside")
    await inside.done(WITHIN_S)
    for what, found, must, good in json.loads(inside.output.read_text("utf-8").splitlines()[-1]):
        bench.figure(what, found, must, good)
