"""What strangers do: ``python -m tests.attack.strangers WHAT JSON`` does one thing to a port and prints what it saw."""

import json
import sys
from collections.abc import Callable
from typing import Any

from tests.attack.crowds import bombs, churn, connects, guess, hold, slow_handshakes, tls_churn
from tests.attack.floods import chunk_sizes, flood, half_sent

WHAT: dict[str, Callable[..., dict[str, Any]]] = {
    made.__name__: made  # type: ignore[attr-defined]
    for made in (chunk_sizes, half_sent, flood, slow_handshakes, churn, tls_churn, hold, guess, connects, bombs)
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(WHAT[sys.argv[1]](**json.loads(sys.argv[2]))))
