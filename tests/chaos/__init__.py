"""Fault runs: each file here does one kind of harm to real processes and says in figures what became of it.

A file has ``async def run(bench)``, which raises nothing for a missed promise but notes it (``bench.figure``).
``scripts/chaos`` runs them long and prints the table; ``tests/e2e/test_chaos.py`` runs each of them short.
"""

FAULTS: tuple[str, ...] = (
    "kill_random",
    "kill_points",
    "torn_spool",
    "bad_disk",
    "power_cut",
    "full_disk",
    "big_backlog",
    "store_faults",
    "store_loses",
    "steady_state",
)
"""Names of the files here that are faults, in the order of the table."""
