"""What operators can do: channels, keys, destinations, recordings; one set of operations for API, CLI and console.

Floor 4, beneath web. ``control`` changes database, admission, destinations and hub together and in order;
``destinations`` makes what people write complete; ``shares`` and ``panel`` are for whoever streams, ``webhooks`` and
``alerts`` for who wants to be told; ``models`` are the shapes people see and send. Deliberately without
HTTP, HTML and metrics.
"""

from relay.control.control import Control

__all__ = ["Control"]
