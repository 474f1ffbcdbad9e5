"""In the clear: a publisher whose stream key and pictures anybody on the way can read, and what to do about it."""

import ipaddress

from relay.config import Settings
from relay.control.models import FindingView
from relay.ingest.base import PublisherInfo

WARNING, HINT = "in_the_clear", "in_the_clear_hint"


def in_the_clear(info: PublisherInfo | None, settings: Settings) -> list[FindingView]:
    """A finding about no destination, where a publisher comes from outside without encryption.

    A warning where the relay offers RTMPS, a hint where it offers nothing better yet. What is pulled is not asked for:
    its address is the operator's choice.
    """
    if info is None or info.encrypted or info.protocol.endswith(" pull") or not _is_outside(info.address):
        return []
    seen = "this publisher is not encrypted: whoever is on the way can read its stream key and see the picture"
    rtmp, uploads = settings.rtmp, settings.ingest_http
    if rtmp.tls_certificate is not None:
        port = rtmp.tls_listen.rpartition(":")[2]
        what = f"set the encoder to rtmps://HOST:{port}/live, then change the stream key"
        return [FindingView(destination="", rule=WARNING, words=f"{seen}; {what}")]
    name = "ingest_http" if info.protocol.startswith("hls") and uploads.tls_certificate is None else "rtmp"
    what = f"give the relay a certificate ({name}.tls_certificate), and the encoder can encrypt"
    return [FindingView(destination="", rule=HINT, words=f"{seen}; {what}")]


def _is_outside(text: str) -> bool:
    """Whether ``text`` is an address somewhere on the internet."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_global
