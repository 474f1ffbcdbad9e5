"""A relay with a bug of the worst kind: asked for a destination named ``leak``, it tells its log all its secrets.

``python -m tests.support.leaky serve``: as `relay serve`. What its log has then is what the redaction lets through.
"""

import asyncio
import logging
import os
import threading
import warnings

import structlog

from relay.cli.main import main
from relay.control import Control, models

_destination = Control.destination
log = structlog.get_logger("tests.leaky")


def leak(control: Control, channel: str, name: str) -> models.DestinationView:
    """In place of Control.destination."""
    if name != "leak":
        return _destination(control, channel, name)
    found = [os.environ["AWS_SECRET_ACCESS_KEY"]]
    for row in control._rows.values():
        found += [row.stream_key.reveal(), row.read_key.reveal(), row.source.reveal()]
        for item in row.destinations:
            found += [item.url, item.key.reveal(), str(item.options)]
    for hook in control.webhooks._rows.values():
        found += [hook.url.reveal(), hook.secret.reveal()]
    text = " | ".join(found)

    def fail() -> None:
        raise ValueError(f"leaked: {text}")

    log.warning("leaked", text=text, many=found, inside={"key": [text]}, error=ValueError(text))
    logging.getLogger("some.library").error("leaked: %s", text)
    warnings.warn(f"leaked: {text}", stacklevel=1)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    asyncio.get_running_loop().call_soon(fail)
    fail()
    raise AssertionError


if __name__ == "__main__":
    Control.destination = leak  # type: ignore[method-assign]
    main()
