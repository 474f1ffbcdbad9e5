"""Pages: templates made HTML, with words for lengths, sizes and times that a person can read."""

from datetime import UTC, datetime

import jinja2
from aiohttp import web

from relay.control.panel import clock


def span(seconds: float) -> str:
    """A length in words: ``0.4 s``, ``12 s``, ``3 min``, ``2 h 5 min``, ``4 days``."""
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(minutes / 1440)} days"


def size(count: float) -> str:
    """``812 kB``, ``3.4 MB``, ``1.25 GB``."""
    for unit, scale, digits in (("GB", 1e9, 2), ("MB", 1e6, 1), ("kB", 1e3, 0)):
        if count >= scale:
            return f"{count / scale:.{digits}f} {unit}"
    return f"{count:.0f} B" if count else "nothing"


def rate(kbps: float) -> str:
    """``850 kbit/s``, ``3.2 Mbit/s``, ``51 Mbit/s``."""
    if kbps < 1000:
        return f"{kbps:.0f} kbit/s"
    return f"{kbps / 1000:.{1 if kbps < 20_000 else 0}f} Mbit/s"


def moment(iso: str) -> str:
    """An ISO time as ``25 Nov 2026, 23:10 UTC``; the page's script says it in the reader's own zone."""
    try:
        at = datetime.fromisoformat(iso).astimezone(UTC)
    except ValueError:
        return iso
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("relay.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.filters.update(duration=clock, span=span, size=size, rate=rate, moment=moment)


def render(template: str, **values: object) -> str:
    """``template`` with ``values``, whose text is never taken for HTML."""
    return _ENVIRONMENT.get_template(template).render(**values)


def page(template: str, *, status: int = 200, **values: object) -> web.Response:
    """The same as an answer, which no cache keeps."""
    text = render(template, **values)
    return web.Response(text=text, status=status, content_type="text/html", headers={"Cache-Control": "no-store"})


def see(path: str) -> web.Response:
    """Go to ``path`` instead."""
    return web.Response(status=303, headers={"Location": path})
