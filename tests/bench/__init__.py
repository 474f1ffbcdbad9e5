"""Measurements of a real relay, in processor time and as ratios within one run: machines are noisy.

A measure has ``async def run(processes, folder, *, quick)``, which gives rows of (what, figure, aim).
"""

MEASURES: tuple[str, ...] = ("relay", "floor", "profile", "archive", "connect", "hold", "size", "viewers")
"""Names of the files here that are measures."""
