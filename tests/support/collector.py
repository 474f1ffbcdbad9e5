"""Python's collector of cycles, out of the way: what is gone without it leads back to itself nowhere."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Nothing is collected for the block, but for what was there before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
