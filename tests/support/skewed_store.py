"""Puts an object into the store of the settings and looks whether it is there: for a process with a wrong clock."""

import sys
import time

from relay.archive.store import check, make_store
from relay.config import load_settings


def main() -> int:
    store = make_store(load_settings())
    check(store)
    store.put("skewed/object", b"whenever", "text/plain", replace=False)
    sys.stdout.write(f"{time.time():.0f} {store.holds('skewed/object', b'whenever')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
