"""One HTTP request of an HLS destination: a file goes out, and the answer means taken, try again, or never."""

import asyncio
import contextlib
import io
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from relay.errors import DestinationError, DestinationRejectedError
from relay.outbound.http import explain

ANSWER_BYTES, ANSWER_S = 16 * 1024, 1.0  # of an answer's body, so that the connection can be used again
RETRY_AFTER_MOST_S = 60.0
TYPES = {".ts": "video/mp2t", ".m3u8": "application/vnd.apple.mpegurl"}
_ACCEPTED = range(200, 205)
_BUSY = {408: "timeout", 425: "busy", 429: "busy"}
_REASONS = {
    400: "does not accept the request: check URL and key, and that the event is open",
    401: "does not know the key: check it",
    403: "does not let this key in: check it, and that the event is open",
    404: "knows no such place: check URL and key",
    405: "does not take the upload method: set it to POST or PUT, and check the URL",
    413: "takes no segments of this size: send less, or give the destination a fit",
}


async def upload(session: aiohttp.ClientSession, method: str, url: URL, data: bytes, within_s: float) -> None:
    """Send ``data`` to ``url``; returns once it is accepted.

    Raises DestinationRejectedError where trying again is no use, DestinationError where it is. Their words name the
    host only. What the answer holds beside its status is looked at no further than ANSWER_BYTES and ANSWER_S.
    """
    where = f"{url.host}:{url.port}"
    headers = {"Content-Type": next((kind for end, kind in TYPES.items() if str(url).endswith(end)), TYPES[".ts"])}
    try:
        # The copy goes with the attempt: a request that failed stays in its error's frames until the collector comes.
        with io.BytesIO(data) as body:
            async with (
                asyncio.timeout(within_s),
                session.request(method, url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                status, retry_after = answer.status, answer.headers.get("Retry-After", "")
                with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                    async with asyncio.timeout(ANSWER_S):
                        await _look(answer)
    except (aiohttp.ClientError, OSError, DestinationError) as error:
        raise explain(error, where) from error
    if status in _ACCEPTED:
        return
    if status in _BUSY or status >= 500:
        outcome = _BUSY.get(status, "server_error")
        raise DestinationError(f"{where} answered {status}", outcome, _seconds(retry_after))
    if 300 <= status < 400:
        words = "sends on to another address, which the relay does not follow: write that one"
    else:
        words = _REASONS.get(status, "refuses the upload: check URL and key")
    raise DestinationRejectedError(f"{where} {words} (answered {status})")


async def _look(answer: aiohttp.ClientResponse) -> None:
    """Read a short body to its end; a connection with more than that on it is closed, not used again."""
    left = ANSWER_BYTES
    while left > 0 and (read := await answer.content.read(left)):
        left -= len(read)


def _seconds(retry_after: str) -> float:
    """Retry-After (RFC 9110 §10.2.3) in seconds, within reason; 0 where it says nothing."""
    try:
        if retry_after.strip().isdigit():
            wanted = float(retry_after.strip()[:9])
        else:
            wanted = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return min(max(wanted, 0.0), RETRY_AFTER_MOST_S)
