"""Outbound address policy: resolve once, check every address, dial only what was checked."""

import asyncio
import ipaddress
import socket
from typing import NamedTuple

from relay.errors import AddressError
from relay.outbound.lookup import SockAddr, lookup

_CGNAT = ipaddress.ip_network("100.64.0.0/10")
_METADATA = (ipaddress.ip_address("169.254.169.254"), ipaddress.ip_address("fd00:ec2::254"))
_IS_METADATA = "cloud metadata"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052; the local prefix 64:ff9b:1::/48 is RFC 8215's
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")
_TEREDO = ipaddress.ip_network("2001::/32")


class CheckedAddress(NamedTuple):
    """An address that passed the policy: what to connect to, whatever DNS says a moment later."""

    family: socket.AddressFamily
    sockaddr: SockAddr


def refusal(text: str) -> str | None:
    """What kind of address ``text`` is that the relay does not dial, or None if it may. Looks into embedded IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return refusal(str(inner))
        if address in _TEREDO or address in _NAT64_LOCAL or address.is_site_local:
            return "tunnelled" if address in _TEREDO else "private"
    elif address in _CGNAT:
        return "carrier-internal"
    if address in _METADATA:
        return _IS_METADATA
    for kind in ("loopback", "link_local", "multicast", "unspecified", "reserved", "private"):
        if getattr(address, f"is_{kind}"):
            return kind.replace("_", "-")
    return None if address.is_global else "not globally reachable"


def check(address: str, shown: str, *, allow_private: bool) -> None:
    """Raises AddressError, in words that name ``shown``, where ``address`` is not dialled."""
    kind = refusal(address)
    if kind == _IS_METADATA:  # it gives keys to whoever asks from this machine
        raise AddressError(f"{shown} is a {kind} address, which the relay never dials")
    if kind is not None and not allow_private:
        raise AddressError(
            f"{shown} is a {kind} address, which the relay does not dial; "
            "set RELAY_OUTBOUND__ALLOW_PRIVATE=true if it is yours"
        )


async def resolve(host: str, port: int, *, allow_private: bool, timeout_s: float) -> list[CheckedAddress]:
    """The checked addresses of ``host``, in the resolver's order. One bad address refuses the name.

    Raises AddressError: the name is unknown, the resolver is silent, or policy forbids an address.
    """
    if not host.isprintable():
        raise AddressError("the host has control characters in it; check the URL")
    try:
        async with asyncio.timeout(timeout_s):
            found = await lookup(host, port)
    except TimeoutError:
        raise AddressError(f"looking up {host} took longer than {timeout_s:g} s; check this server's DNS") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise AddressError(f"{host} cannot be looked up ({reason}); check the URL") from error
    checked: list[CheckedAddress] = []
    for family, sockaddr in found:
        address = str(sockaddr[0])
        check(address, host if host == address else f"{host} ({address})", allow_private=allow_private)
        entry = CheckedAddress(family, sockaddr)
        if entry not in checked:
            checked.append(entry)
    if not checked:
        raise AddressError(f"{host} has no address; check the URL")
    return checked
