"""Redaction: covers up, in whatever text leaves the process, every secret it knows and whatever looks like one."""

import base64
import json
import re
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit

from relay.secret import STARS, Secret

SHORTEST = 8  # of what is looked for anywhere: shorter words stand in other words, too
LONG = 16  # of a word in a URL's path that is taken for a secret
FORMER = 1000  # secrets no longer in use that are covered up still
LONGEST = 64 * 1024  # of a text; what is beyond is left out, unread
_CUT = " (the rest is left out)"

# What gives itself away by where it stands: user and password of a URL, credentials of a header, values of a query or
# a cookie, the token of a share link. Each with a sign that is looked for first: few texts have one.
_WORD = r"[^\s\"'&<>,;)\]}\\]+"
_NAMES = (
    "key|token|secret|signature|sig|password|passwd|passphrase|credential|authorization|auth|relay_session|"
    "x-amz-[a-z-]{1,40}"
)
_PATTERNS = (
    ("://", re.compile(r"(?<=://)[^\s/\"'@<>\\]+(?=@)"), STARS),
    ("=", re.compile(rf"(?i)((?<![a-z0-9])(?:[a-z0-9]{{1,20}}[_-]){{0,2}}(?:{_NAMES}))={_WORD}"), rf"\1={STARS}"),
    ("/s/", re.compile(r"(/s/)[a-z2-9]{20,}"), rf"\1{STARS}"),
    ("earer ", re.compile(rf"(?i)\b(bearer) +{_WORD}"), rf"\1 {STARS}"),
    ("asic ", re.compile(rf"(?i)\b(basic) +(?=\S{{8}}){_WORD}"), rf"\1 {STARS}"),
)


class Redaction:
    """Every secret that is known, found by its first SHORTEST characters: a look costs by the text's length alone.

    A secret counts for as long as its Secret object lives, and is among the last FORMER ones after that. Used from
    any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._by_start: dict[str, tuple[str, ...]] = {}  # the longest first
        self._owners: dict[weakref.ref[Secret], tuple[str, ...]] = {}
        self._former: deque[str] = deque()

    def know(self, secret: Secret) -> Secret:
        """Cover up ``secret`` from now on, in each form it may take in a text. Returns it."""
        found = tuple(dict.fromkeys(form for form in forms(secret.reveal()) if len(form) >= SHORTEST))
        if found:
            with self._lock:
                self._owners[weakref.ref(secret, self._gone)] = found
                for form in found:
                    self._add(form)
        return secret

    def censor(self, text: str) -> str:
        """``text`` with stars for all that is secret in it; cut after LONGEST characters."""
        if len(text) > LONGEST:
            text = text[:LONGEST] + _CUT
        text = self._without_known(text)
        for sign, pattern, instead in _PATTERNS:
            if sign in text:
                text = pattern.sub(instead, text)
        return text

    def _without_known(self, text: str) -> str:
        by_start = self._by_start
        starts = {text[index : index + SHORTEST] for index in range(len(text) - SHORTEST + 1)}
        if by_start.keys().isdisjoint(starts):  # looks at these few, not at all that is known
            return text
        with self._lock:
            found = {form for start in starts & by_start.keys() for form in by_start[start]}
        for form in sorted(found, key=len, reverse=True):
            text = text.replace(form, STARS)
        return text

    def __len__(self) -> int:
        """How many texts are looked for."""
        return len(self._counts)

    def _gone(self, owner: "weakref.ref[Secret]") -> None:
        with self._lock:
            self._former.extend(self._owners.pop(owner, ()))
            while len(self._former) > FORMER:
                self._drop(self._former.popleft())

    def _add(self, form: str) -> None:
        self._counts[form] += 1
        if self._counts[form] == 1:
            start = form[:SHORTEST]
            self._by_start[start] = (*self._by_start.get(start, ()), form)

    def _drop(self, form: str) -> None:
        self._counts[form] -= 1
        if self._counts[form] > 0:
            return
        del self._counts[form]
        start = form[:SHORTEST]
        left = tuple(other for other in self._by_start[start] if other != form)
        if left:
            self._by_start[start] = left
        else:
            del self._by_start[start]


def forms(text: str) -> Iterator[str]:
    """``text`` and what else says as much: escaped for a URL, for JSON or by repr; of a URL, what is secret in it."""
    yield text
    yield quote(text, safe="")
    yield quote(text, safe="/:?=&")
    yield json.dumps(text)[1:-1]
    yield repr(text)[1:-1]
    scheme, mark, _ = text.partition("://")
    if mark and scheme.isalnum():
        yield from _of_url(text)
    elif " " in text:  # Bearer …, Basic …
        yield text.rpartition(" ")[2]


def _of_url(text: str) -> Iterator[str]:
    try:
        parts = urlsplit(text)
    except ValueError:
        return
    user, mark, _ = parts.netloc.rpartition("@")
    if mark:
        name, _, password = user.partition(":")
        yield user
        yield password
        yield unquote(password)
        pair = f"{unquote(name)}:{unquote(password)}".encode("utf-8", "surrogatepass")
        yield base64.b64encode(pair).decode("ascii").rstrip("=")
    for part in parts.path.split("/"):
        # A name of a file is none; a long word by itself is what webhooks and RTMP servers know their friends by.
        if len(part) >= LONG and ("." not in part or len(part) >= 2 * LONG):
            yield part
            yield unquote(part)
    if parts.query:
        yield parts.query
        for word in parts.query.split("&"):
            value = word.rpartition("=")[2]
            yield value
            yield unquote(value)


known = Redaction()
"""The process's own: what everything that writes for people or files goes through."""
