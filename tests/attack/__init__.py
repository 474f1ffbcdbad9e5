"""Attacks: each file here does what a hostile peer would to a real relay, beside honest publishers who must not notice.

A file has ``async def run(bench)``, which raises nothing for a missed promise but notes it (``bench.figure``).
``scripts/attack`` runs them long and prints the table; ``tests/e2e/test_attack.py`` runs each of them short.
"""

ATTACKS: tuple[str, ...] = (
    "chunks",
    "amf",
    "connects",
    "keys",
    "descriptors",
    "memory",
    "destinations",
    "ssrf",
    "canary",
)
"""Names of the files here that are attacks, in the order of the table."""
