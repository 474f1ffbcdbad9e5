"""Access: who may watch a channel: its viewers option, its read key, and links that expire."""

import math
import time

from aiohttp import web

from relay.control import Control
from relay.web.playback import LINK_S, Links

REMEMBERED, LONGEST = 2000, 300  # queries that were right; none longer than a link with some words more
_BEARER = "bearer "


class Access:
    """Judges requests below ``/live/{name}`` and ``/watch/{name}``."""

    def __init__(self, control: Control, links: Links) -> None:
        self._control = control
        self._links = links
        self._known: dict[tuple[str, str], tuple[object, float, str]] = {}  # mark, expiry, what is passed on

    def forget(self) -> None:
        """Judge every query anew: links are signed with another key."""
        self._known.clear()

    def link(self, channel: str, expires: int) -> str:
        """``expires=…&signature=…``: opens ``channel`` until ``expires``, unix seconds."""
        return self._links.query(f"live/{channel}", expires)

    def allows(self, request: web.Request) -> bool:
        """Whether the channel's viewers option lets this request in, by itself."""
        if request.method not in ("GET", "HEAD") or not request.path.startswith(("/live/", "/watch/")):
            return False
        return self._opened(request.match_info.get("name", ""), request.query_string) is not None

    def is_public(self, channel: str) -> bool:
        """Whether everybody may watch, and caches may keep it for everybody."""
        return self._control.viewers(channel)[0] == "public"

    def passed_on(self, request: web.Request, channel: str) -> str:
        """The query that addresses in a playlist for this viewer need: ``?…``, or nothing."""
        opened = self._opened(channel, request.query_string)
        if opened is not None:
            return opened
        if request.headers.get("Authorization", "")[: len(_BEARER)].lower() == _BEARER:
            # Players do not carry the token over to segments. To the hour, so that addresses stay the same.
            return "?" + self.link(channel, (int(time.time()) // 3600 + 1) * 3600 + LINK_S)
        return ""

    def _opened(self, channel: str, query: str) -> str | None:
        """What is to be passed on with a query that opens the channel; None for one that does not."""
        viewers, mark = self._control.viewers(channel)
        if viewers != "signed":
            return "" if viewers == "public" else None
        if "_HLS_" in query:
            query = "&".join(word for word in query.split("&") if not word.startswith("_HLS_"))
        known = self._known.get((channel, query))
        if known is not None and known[0] is mark and known[1] >= time.time():
            return known[2]
        found = self._judge(channel, query)
        if found is None:
            return None
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        if len(query) <= LONGEST:
            self._known[channel, query] = (mark, *found)
        return found[1]

    def _judge(self, channel: str, query: str) -> tuple[float, str] | None:
        """(good until, what is to be passed on) for a query that opens a channel with signed links."""
        # As they were sent: what opens a channel needs no escapes.
        words = dict(word.split("=", 1) for word in query.split("&") if "=" in word)
        if "key" in words and self._control.may_play(channel, words["key"]):
            return math.inf, f"?key={words['key']}"
        expires, signature = words.get("expires", ""), words.get("signature", "")
        until = self._links.until(f"live/{channel}", expires, signature)
        return (until, f"?expires={expires}&signature={signature}") if until else None
