"""The outbound policy: what may be dialled, and what people are told otherwise."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import AddressError
from relay.outbound.address import refusal, resolve

REFUSED = [
    ("127.0.0.1", "loopback"),
    ("127.255.0.9", "loopback"),
    ("::1", "loopback"),
    ("10.1.2.3", "private"),
    ("172.16.0.1", "private"),
    ("192.168.1.1", "private"),
    ("fd00::1", "private"),
    ("fec0::1", "private"),
    ("169.254.169.254", "cloud metadata"),
    ("169.254.1.1", "link-local"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("224.0.0.1", "multicast"),
    ("ff02::1", "multicast"),
    ("0.0.0.0", "unspecified"),
    ("::", "unspecified"),
    ("0.1.2.3", "private"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("100.64.0.1", "carrier-internal"),
    ("100.127.255.255", "carrier-internal"),
    ("192.0.2.1", "private"),
    ("198.18.0.1", "private"),
    ("2001:db8::1", "private"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:169.254.169.254", "cloud metadata"),
    ("::127.0.0.1", "reserved"),
    ("2002:7f00:1::1", "loopback"),
    ("2002:c0a8:101::1", "private"),
    ("64:ff9b::10.0.0.1", "private"),
    ("64:ff9b::100.64.0.1", "carrier-internal"),
    ("64:ff9b:1::8.8.8.8", "private"),
    ("2001:0:808:808::1", "tunnelled"),
]
ALLOWED = [
    "8.8.8.8",
    "100.63.0.1",
    "100.128.0.1",
    "2606:4700::1",
    "::ffff:8.8.8.8",
    "2002:808:808::1",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize(("address", "kind"), REFUSED)
def test_internal_addresses_are_refused_by_kind(address: str, kind: str) -> None:
    assert refusal(address) == kind


@pytest.mark.parametrize("address", ALLOWED)
def test_public_addresses_are_dialled(address: str) -> None:
    assert refusal(address) is None


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_like_itself(address: ipaddress.IPv4Address) -> None:
    alone = refusal(str(address))
    packed = int(address)
    assert refusal(f"::ffff:{address}") == alone
    assert refusal(str(ipaddress.IPv6Address((0x2002 << 112) | packed << 80 | 1))) == alone
    assert refusal(f"64:ff9b::{address}") == alone
    assert (alone is None) <= address.is_global


async def test_a_loopback_destination_is_refused_naming_the_setting() -> None:
    with pytest.raises(AddressError) as caught:
        await resolve("127.0.0.1", 1935, allow_private=False, timeout_s=5)
    assert str(caught.value) == (
        "127.0.0.1 is a loopback address, which the relay does not dial; "
        "set RELAY_OUTBOUND__ALLOW_PRIVATE=true if it is yours"
    )
    assert caught.value.outcome == "address"


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "[::1]"])
async def test_no_other_spelling_gets_to_the_loopback(host: str) -> None:
    with pytest.raises(AddressError):
        await resolve(host, 1935, allow_private=False, timeout_s=5)


async def test_what_is_allowed_is_pinned() -> None:
    found = await resolve("127.0.0.1", 1935, allow_private=True, timeout_s=5)
    assert found == [(socket.AF_INET, ("127.0.0.1", 1935))]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64, "..", "bad host"])
async def test_a_name_that_leads_nowhere_says_so(host: str) -> None:
    with pytest.raises(AddressError, match="check the URL"):
        await resolve(host, 1935, allow_private=True, timeout_s=20)


@pytest.mark.parametrize("host", ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"])
async def test_cloud_metadata_is_nobodys_own_server(host: str) -> None:
    with pytest.raises(AddressError, match="cloud metadata address, which the relay never dials"):
        await resolve(host, 80, allow_private=True, timeout_s=5)
