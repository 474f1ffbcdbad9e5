"""Measurements of a real relay, in processor time and as ratios within one run: machines are noisy.

A file has ``async def run(processes, folder)``, which gives rows of (what, figure, aim).
"""

MEASURES: tuple[str, ...] = ("hold", "viewers")
"""Names of the files here that are measures."""
