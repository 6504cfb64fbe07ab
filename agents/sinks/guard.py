"""Where a sink may connect to: never to the inside of the house unless the configuration says so.

Owns the rules by which an address is refused and the resolver that applies them. A name is resolved once; every
address it gives must pass; the connection goes to exactly those addresses, so a name that answers differently the
next time (DNS rebinding) gains nothing. Knows nothing of alerts.

Not obvious: the check is on addresses after resolution, never on the text of the URL: `0x7f.1`, `①②⑦.0.0.1` and
`localtest.me` are all loopback. So the host that is judged is the one that the HTTP client reads out of the URL, by the
same code. Link-local stays refused even with allow_private: 169.254.169.254 hands out a cloud machine's credentials,
and nothing that takes alerts lives there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


#: Allowed only with allow_private: loopback, RFC 1918, carrier-grade NAT, unique local.
PRIVATE = _networks(
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7"
)
#: Never: this network, link-local, test and benchmark nets, multicast, reserved, and IPv6 that wraps an IPv4 address
#: in a way a router may unwrap (NAT64, 6to4, Teredo, deprecated compatible and site-local). The last row: where clouds
#: (AWS, Alibaba, Azure) hand out credentials though the network is private or public.
NEVER = _networks(
    "0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "::/128", "fe80::/10", "fec0::/10", "ff00::/8", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16",
    "2001:db8::/32", "100::/64", "::/96",
    "fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32",
)  # fmt: skip


_MEANT = "is loopback or private; set allow_private = true for this sink if that is meant"


class RefusedError(OSError):
    """An address that a sink may not connect to; the message says which and why."""


def refusal(text: str, *, allow_private: bool) -> str | None:
    """Why this address may not be called, or None.

    >>> refusal("127.0.0.1", allow_private=False)
    '127.0.0.1 is loopback or private; set allow_private = true for this sink if that is meant'
    >>> refusal("127.0.0.1", allow_private=True), refusal("8.8.8.8", allow_private=False)
    (None, None)
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    judged: Address = mapped or address
    # ::1 is also the last address of the compatible net.
    if _within(judged, NEVER) and not judged.is_loopback:
        return f"{text} is an address that no incident tool has"
    return f"{text} {_MEANT}" if (_within(judged, PRIVATE) or mapped) and not allow_private else None


def _within(address: Address, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def literal(host: str) -> str | None:
    """The address, if the host of a URL is one already; aiohttp does not ask a resolver for those."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return None


def host_of(url: str | yarl.URL) -> str:
    """The host as the HTTP client will call it; ValueError for what is no URL.

    >>> host_of("http://①②⑦.0.0.1/hook"), host_of("http://127。0。0。1/"), host_of("http://Bücher.example")
    ('127.0.0.1', '127.0.0.1', 'xn--bcher-kva.example')
    """
    return yarl.URL(url).raw_host or ""


def check_host(host: str, *, allow_private: bool) -> None:
    """Raise RefusedError for a host that one may not call whatever it resolves to; names are checked when they do."""
    address = literal(host)
    if address is not None:
        why = refusal(address, allow_private=allow_private)
    elif host.replace(".", "").isdigit():
        # The system would read 127.1 as an address, and older clients do not ask our resolver.
        why = f"{host} is no address; write it as four numbers"
    else:
        local = host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost")
        why = f"{host} {_MEANT}" if local and not allow_private else None
    if why:
        raise RefusedError(why)


async def check_name(host: str, *, allow_private: bool) -> None:
    """The same after resolution, as a connection would be judged; OSError when the name does not resolve."""
    check_host(host, allow_private=allow_private)
    if literal(host) is None:
        await GuardedResolver(allow_private=allow_private, lookup=system_lookup).resolve(host)


async def system_lookup(host: str, port: int) -> list[str]:
    """All addresses of a name by the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedResolver(AbstractResolver):
    """Resolves, checks every address, and hands the checked ones to the connector, which connects to those only."""

    def __init__(self, *, allow_private: bool, lookup: Lookup = system_lookup) -> None:
        self._allow_private = allow_private
        self._lookup = lookup

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the connector's signature
    ) -> list[ResolveResult]:
        """One bad address among good ones refuses the name: it may be the one that is used."""
        addresses = await self._lookup(host, port)
        for address in addresses:
            if why := refusal(address, allow_private=self._allow_private):
                raise RefusedError(f"{host} resolves to an address that is refused: {why}")
        return [_entry(host, port, address) for address in addresses]

    async def close(self) -> None:
        """Nothing is held."""


def _entry(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
