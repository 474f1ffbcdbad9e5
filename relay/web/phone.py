"""What sets up a phone's encoder in one go: links apps open themselves, and QR codes of them.

Larix Broadcaster (and IRL Pro, which reads the same): https://softvelum.com/larix/grove/. Moblin:
https://github.com/eerimoq/moblin, README "Import settings using moblin:// (custom URL)" and MoblinSettingsUrl.swift.
"""

import io
import json
from dataclasses import dataclass
from urllib.parse import quote

import segno

from relay.control import models


@dataclass(frozen=True, slots=True)
class Setup:
    """Where a channel is published to, in every form an encoder takes it."""

    server: str
    key: str
    url: str  # both in one
    larix: str
    moblin: str

    def text(self, kind: str) -> str | None:
        """What the QR code of that kind says: larix, moblin or url."""
        return {"larix": self.larix, "moblin": self.moblin, "url": self.url}.get(kind)


def setup_of(view: models.ChannelView) -> Setup:
    """The setup of ``view``'s publisher."""
    url = f"{view.publish_url}/{view.stream_key}"
    return Setup(view.publish_url, view.stream_key, url, larix_link(url, view.name), moblin_link(url, view.name))


def larix_link(url: str, name: str) -> str:
    """Adds a connection, in place of one of that name, and chooses it. Brackets stay as they are, values are quoted."""
    return (
        f"larix://set/v1?conn[][url]={quote(url, safe='')}&conn[][name]={quote(name, safe='')}"
        "&conn[][overwrite]=on&conn[][active]=on"
    )


def moblin_link(url: str, name: str) -> str:
    """Adds a stream and chooses it: URL-encoded JSON. H.264 as every platform takes it, keyframes every 2 s."""
    stream = {
        "name": name,
        "url": url,
        "selected": True,
        "video": {"codec": "H.264/AVC", "maxKeyFrameInterval": 2},
    }
    return f"moblin://?{quote(json.dumps({'streams': [stream]}, separators=(',', ':')), safe='')}"


def qr_svg(text: str) -> bytes:
    """``text`` as a QR code in black on white, whatever the page's colours: scanners want it so."""
    code = segno.make_qr(text, error="l", boost_error=False)
    out = io.BytesIO()
    plain = {"xmldecl": False, "nl": False, "omitsize": True, "svgclass": None, "lineclass": None}
    code.save(out, kind="svg", border=4, dark="#000", light="#fff", **plain)
    return out.getvalue()
