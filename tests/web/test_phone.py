"""Links and QR codes for phones: exactly what the apps document, read back as they would read it."""

import io
import json
from urllib.parse import parse_qsl, unquote, urlsplit

import segno

from relay.web.phone import larix_link, moblin_link, qr_svg

URL = "rtmp://192.0.2.1:1935/live/abc?x=1&y=2"


def test_larix_reads_a_connection() -> None:
    link = urlsplit(larix_link(URL, "a & b/ü"))
    assert (link.scheme, link.netloc, link.path) == ("larix", "set", "/v1")
    assert parse_qsl(link.query, strict_parsing=True) == [
        ("conn[][url]", URL),
        ("conn[][name]", "a & b/ü"),
        ("conn[][overwrite]", "on"),
        ("conn[][active]", "on"),
    ]


def test_moblin_reads_a_stream() -> None:
    link = moblin_link(URL, 'a "b" ü')
    assert link.startswith("moblin://?")
    assert json.loads(unquote(link.removeprefix("moblin://?"))) == {
        "streams": [
            {
                "name": 'a "b" ü',
                "url": URL,
                "selected": True,
                "video": {"codec": "H.264/AVC", "maxKeyFrameInterval": 2},
            }
        ]
    }
    assert not set(link.removeprefix("moblin://?")) & set('&+# "{}')


def test_a_code_is_small_plain_svg() -> None:
    svg = qr_svg(moblin_link(URL, "talk"))
    assert svg.startswith(b"<svg")
    assert b"style" not in svg  # the page's policy would not let it
    assert len(svg) < 8000
    rows = segno.make_qr(URL, error="l", boost_error=False).symbol_size(border=4)
    out = io.BytesIO(qr_svg(URL))
    assert f'viewBox="0 0 {rows[0]} {rows[1]}"'.encode() in out.getvalue()
