"""Access: who may watch a channel: its viewers option, its read key, and links that expire."""

import hmac
import re
import time
from collections.abc import Callable

from aiohttp import web

from relay.control import Control

LINK_S = 6 * 3600
_SIGNED = re.compile(r"expires=[0-9]{1,12}&signature=[0-9a-f]{64}")
_BEARER = "bearer "


class Access:
    """Judges requests below ``/live/{name}`` and ``/watch/{name}``. ``sign`` turns a text into its signature."""

    def __init__(self, control: Control, sign: Callable[[str], str]) -> None:
        self._control = control
        self._sign = sign
        self._right: dict[str, tuple[str, int]] = {}  # links seen to be right: channel and expiry, by query

    def link(self, channel: str, expires: int) -> str:
        """``expires=…&signature=…``: opens ``channel`` until ``expires``, unix seconds."""
        return f"expires={expires}&signature={self._sign(f'live/{channel}:{expires}')}"

    def allows(self, request: web.Request) -> bool:
        """Whether the channel's viewers option lets this request in, by itself."""
        channel = request.match_info.get("name", "")
        if request.method not in ("GET", "HEAD") or not request.path.startswith(("/live/", "/watch/")):
            return False
        viewers = self._control.viewers(channel)
        if viewers == "signed":
            return self._is_signed(channel, request.query_string)
        return viewers == "public"

    def _is_signed(self, channel: str, query: str) -> bool:
        words = _words(query)
        if "key" in words and self._control.may_play(channel, words["key"]):
            return True
        link = f"expires={words.get('expires', '')}&signature={words.get('signature', '')}"
        known = self._right.get(link)
        if known is not None and known[0] == channel:
            return known[1] >= time.time()
        if not _SIGNED.fullmatch(link):
            return False
        expires = int(words["expires"])
        if expires < time.time() or not hmac.compare_digest(link, self.link(channel, expires)):
            return False
        if len(self._right) >= 10_000:
            self._right.clear()
        self._right[link] = (channel, expires)
        return True

    def passed_on(self, request: web.Request, channel: str) -> str:
        """The query that addresses in a playlist for this viewer need: ``?…``, or nothing."""
        viewers = self._control.viewers(channel)
        if viewers == "public":
            return ""
        words = _words(request.query_string)
        if viewers == "signed" and self._is_signed(channel, request.query_string):
            if self._control.may_play(channel, words.get("key", "")):
                return f"?key={words['key']}"
            return f"?expires={words['expires']}&signature={words['signature']}"
        if viewers == "signed" and request.headers.get("Authorization", "")[: len(_BEARER)].lower() == _BEARER:
            # Players do not carry the token over to segments. To the hour, so that addresses stay the same.
            return "?" + self.link(channel, (int(time.time()) // 3600 + 1) * 3600 + LINK_S)
        return ""


def _words(query: str) -> dict[str, str]:
    """The query's words as they were sent: what opens a channel needs no escapes."""
    return dict(word.split("=", 1) for word in query.split("&") if "=" in word)
