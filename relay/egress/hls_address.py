"""Where an HLS destination's files go: ``{key}``, file names, and what of it all people may see."""

import re

from yarl import URL

from relay.errors import DestinationError
from relay.outbound.http import http_url

KEY = "{key}"


def upload_url(url: str, key: str, name: str) -> URL:
    """The address of file ``name``. The key stands where the URL says ``{key}``, else as the last part of its path.

    A URL that ends in ``=`` (YouTube's ``file=``) has the name appended; else the name follows the path. Raises
    DestinationError for what cannot be dialled; its words never hold the key.
    """
    path, mark, query = url.partition("#")[0].partition("?")
    if key and KEY not in url:
        path = f"{path.rstrip('/')}/{KEY}"
    _checked(url)
    path, mark, query = f"{path}{mark}{query}".replace(KEY, key.replace("#", "%23")).partition("?")
    if query.endswith("="):
        query += name
    else:
        path = f"{path.rstrip('/')}/{name}"
    return _checked(f"{path}{mark}{query}")


def _checked(text: str) -> URL:
    try:
        url = http_url(text if text.isprintable() and " " not in text else "")
    except DestinationError:
        raise DestinationError("the URL must begin with http:// or https:// and name a host", "config") from None
    if url.user is not None or url.password is not None:
        raise DestinationError("a user name in the URL is not supported; write {key} where a key belongs", "config")
    return url


def without_key(url: str) -> tuple[str, str]:
    """(URL with ``{key}``, key) of a URL given whole: its query, or else the last part of its path, is the key."""
    path, mark, query = url.partition("?")
    if KEY in url:
        return url, ""
    if query:
        return f"{path}{mark}{KEY}", query
    start = path.find("://") + 3
    place, _, last = path[start:].rstrip("/").rpartition("/")
    return (f"{path[:start]}{place}/{KEY}", last) if place else (url, "")


def shown(url: str) -> str:
    """The URL as people may see it: no query string, which often holds a token, and no user name."""
    scheme, _, rest = re.split(r"[?#]", url)[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" if rest else ""
