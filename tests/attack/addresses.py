"""Addresses that must not be dialled, in every spelling; names, redirects and playlists that lead to them."""

from urllib.parse import quote

EAR_PORT, ORIGIN_PORT = 4444, 8000
PUBLIC, PUBLIC6 = "93.184.215.14", "2606:2800:21f:cb07::14"
LOCAL = (
    PUBLIC, PUBLIC6, "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "fd00::1", "fe80::5",
    "fec0::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::1", "2001:0:7f00:1::1",
    "fd00:ec2::254",
)  # fmt: skip
"""What the loopback device has besides: whoever dials one of them is heard."""

NUMERIC = (
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.0x1",
    "0177.0.0.1", "0177.1", "017700000001", "127.0.0.1.", "00000000000000000000000177.0.0.1",
    "0", "0x0", "0.0.0.0", "10.0.0.1", "0xa000001", "167772161", "10.1", "192.168.0.1", "192.168.1", "3232235521",
    "172.16.0.1", "169.254.169.254", "2852039166", "0xa9fea9fe", "169.254.43518", "0251.0376.0251.0376",
    "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
    "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::7f00:1]", "[2002:7f00:1::1]", "[2002:a00:1::1]", "[2001:0:7f00:1::1]", "[fe80::5]", "[fe80::5%25lo]",
    "[fe80::5%lo]", "[fd00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[ff02::1%25lo]",
)  # fmt: skip
NAMES = {
    "public.example": [[PUBLIC]],
    "private.example": [["10.0.0.1"]],
    "loopback.example": [["127.0.0.1"]],
    "six.example": [["::1"]],
    "mapped.example": [["::ffff:127.0.0.1"]],
    "metadata.example": [["169.254.169.254"]],
    "both.example": [[PUBLIC, "127.0.0.1"]],
    "both-other-way.example": [["10.0.0.1", PUBLIC]],
    "both-kinds.example": [[PUBLIC, "::1"]],
    "nat64.example": [["64:ff9b::7f00:1"]],
    "many.example": [[PUBLIC] * 10 + ["192.168.0.1"]],
    "xn--prvat-0ra.example": [["10.0.0.1"]],
}
NAMED = (
    "localhost", "LOCALHOST", "localhost.", "ip6-localhost", *(name for name in NAMES if name != "public.example"),
    "private.example.", "PRIVATE.example", "prívat.example", "no-such-name.example",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "１２７.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①", "loopback。example",
)  # fmt: skip
TRICKS = (
    f"{PUBLIC}@127.0.0.1", "public.example@127.0.0.1", "public.example:80@127.0.0.1", "public.example%40127.0.0.1",
    "public.example\\@127.0.0.1", "127.0.0.1\\@127.0.0.1", "user:pass@localhost", "@127.0.0.1",
    "127.0.0.1%00.public.example", "127.0.0.1%2f", "127.0.0.1%09", "127.0.0.1\t", "\t127.0.0.1", "127.0.0.1\n",
    "127.0.0.1\r\nHost: x", "127.0.0.1 ", "[127.0.0.1]", "[::1]:80@127.0.0.1", "[::1", "::1",
)  # fmt: skip
PRIVATE_URLS = (
    f"http://127.0.0.1:{EAR_PORT}/x", f"http://[::1]:{EAR_PORT}/x", f"http://2130706433:{EAR_PORT}/x",
    f"http://both.example:{EAR_PORT}/x", f"http://10.0.0.1:{EAR_PORT}/x", f"https://localhost:{EAR_PORT}/x",
    f"http://[::ffff:127.0.0.1]:{EAR_PORT}/x", f"http://169.254.169.254:{EAR_PORT}/latest/meta-data/",
    f"//127.0.0.1:{EAR_PORT}/x", f"http:///127.0.0.1:{EAR_PORT}/x", f"HTTP://LOCALHOST:{EAR_PORT}",
    "file:///etc/passwd", "file:/etc/passwd", "data:text/plain,x", f"rtmp://127.0.0.1:{EAR_PORT}/app",
    f"ftp://127.0.0.1:{EAR_PORT}/x", f"gopher://127.0.0.1:{EAR_PORT}/x", "javascript:alert(1)",
)  # fmt: skip
_MEDIA = "#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n"
PLAYLISTS = {
    "variants": "#EXT-X-STREAM-INF:BANDWIDTH=1000000\nWHERE\n",
    "sound apart": '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="WHERE"\n'
    '#EXT-X-STREAM-INF:BANDWIDTH=1000000,AUDIO="a"\nWHERE\n',
    "segments": f"{_MEDIA}#EXTINF:2,\nWHERE\n#EXTINF:2,\nWHERE\n#EXTINF:2,\nWHERE\n",
    "keys": f'{_MEDIA}#EXT-X-KEY:METHOD=AES-128,URI="WHERE"\n' + "#EXTINF:2,\nHERE/segment.ts\n" * 3,
    "init segments": f'{_MEDIA}#EXT-X-MAP:URI="WHERE"\n' + "#EXTINF:2,\nHERE/segment.m4s\n" * 3,
}
"""Playlists by what in them names WHERE; HERE is the host they come from."""


def hosts(*, quick: bool) -> list[str]:
    """Authorities that lead, or seem to lead, to this machine or its neighbours."""
    every = [*NUMERIC, *NAMED, *TRICKS]
    return every[::5] if quick else every


def targets(*, quick: bool) -> list[str]:
    """URLs to be redirected to or named by playlists, quoted for a query."""
    return [quote(url, safe="") for url in (PRIVATE_URLS[::4] if quick else PRIVATE_URLS)]
