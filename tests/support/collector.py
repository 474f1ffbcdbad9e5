"""Python's collector of cycles, out of the way: what is gone without it leads back to itself nowhere."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Nothing is collected for the block, but for what was there before."""
    told = sys.unraisablehook
    sys.unraisablehook = lambda _: None  # what earlier tests left lying about is not this one's to answer for
    try:
        gc.collect()
    finally:
        sys.unraisablehook = told
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
