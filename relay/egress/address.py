"""Outbound address policy: resolve once, check every address, dial only what was checked."""

import asyncio
import ipaddress
import socket
from typing import NamedTuple

from relay.errors import AddressError

_CGNAT = ipaddress.ip_network("100.64.0.0/10")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class CheckedAddress(NamedTuple):
    """An address that passed the policy: what to connect to, whatever DNS says a moment later."""

    family: int
    host: str
    port: int


def refusal(text: str) -> str | None:
    """Why the relay does not dial IP address ``text``, or None if it may. Embedded IPv4 addresses are looked into."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner:
            return refusal(str(inner))
    for name in ("loopback", "link_local", "multicast", "unspecified", "private", "reserved"):
        if getattr(address, f"is_{name}"):
            return name.replace("_", "-")
    if address.version == 4 and address in _CGNAT:
        return "carrier-internal"
    return None if address.is_global else "not globally reachable"


async def resolve(host: str, port: int, *, allow_private: bool, timeout_s: float) -> list[CheckedAddress]:
    """The checked addresses of ``host``, in the resolver's order. One bad address refuses the name.

    Raises AddressError: the name is unknown, the resolver is silent, or policy forbids an address.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise AddressError(f"looking up {host} took longer than {timeout_s:g} s; check the server's DNS") from None
    except (socket.gaierror, UnicodeError) as error:
        raise AddressError(f"{host} is not known to DNS ({error}); check the destination's URL") from error
    checked: list[CheckedAddress] = []
    for family, _, _, _, sockaddr in found:
        address = str(sockaddr[0])
        reason = None if allow_private else refusal(address)
        if reason is not None:
            raise AddressError(
                f"{host} resolves to {address}, a {reason} address, which the relay does not dial; "
                "set RELAY_OUTBOUND__ALLOW_PRIVATE=true if it is yours"
            )
        entry = CheckedAddress(family, address, port)
        if entry not in checked:
            checked.append(entry)
    if not checked:
        raise AddressError(f"{host} has no address; check the destination's URL")
    return checked
