"""Copies a folder that others write to meanwhile, as a crash would leave it."""

import shutil
from pathlib import Path

TRIES = 50


def snapshot(source: Path, target: Path) -> Path:
    """``target``, a copy of ``source`` during which no file went or got another name. Raises shutil.Error."""
    tries = 0
    while True:
        try:
            return Path(shutil.copytree(source, target))
        except shutil.Error:
            tries += 1
            if tries == TRIES:
                raise
            shutil.rmtree(target)
