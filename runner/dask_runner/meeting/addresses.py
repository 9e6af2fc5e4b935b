"""The address by which other nodes reach this one.

No address on the Internet is ever probed: compute nodes often have no route to
one, and Dask's own probe of 8.8.8.8 fails there (dask-jobqueue#681).
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from dask_runner.launch.world import World

LOOPBACK = "127.0.0.1"

_SIOCGIFADDR = 0x8915  # linux/sockios.h; the standard library lists no addresses
_ROUTES = Path("/proc/net/route")
_ROUTES_6 = Path("/proc/net/ipv6_route")
_ADDRESSES_6 = Path("/proc/net/if_inet6")
_REJECTS = 0x0200  # RTF_REJECT, linux/route.h


def interfaces() -> dict[str, str]:
    """Return an address of each interface: of IPv4, or else of IPv6."""
    found = _interfaces_4()
    return {**found, **{k: v for k, v in _interfaces_6().items() if k not in found}}


def _interfaces_6() -> dict[str, str]:
    # The address of a link alone, which each interface has, is of no use to others.
    found: dict[str, str] = {}
    for digits, *_, name in _rows(_ADDRESSES_6):
        address = ipaddress.IPv6Address(bytes.fromhex(digits))
        if not address.is_link_local:
            found.setdefault(name, str(address))
    return found


def _interfaces_4() -> dict[str, str]:
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue  # the interface has no IPv4 address
            found[name] = socket.inet_ntoa(answer[20:24])
    return found


def of_interface(name: str) -> str:
    """Return the address of one interface.

    Raises
    ------
    ConfigError
        If it does not exist here or has no address that others can use.
    """
    known = interfaces()
    if name not in known:
        listed = ", ".join(f"{key} ({value})" for key, value in known.items())
        raise ConfigError(
            f"--interface {name} on {socket.gethostname()}, which has {listed}",
            "an interface with an address on every node",
            "name one of these, or leave --interface out",
        )
    return known[name]


def own_address(world: World, interface: str | None, *, closed: bool = True) -> str:
    """Choose the address at which rank 0 listens for the other ranks.

    The given interface; loopback if all ranks are on this node, and the cluster is
    closed; else the address of the node's own name, then the one of the default route,
    then any.

    Parameters
    ----------
    world : World
    interface : str or None
        The interface that the user has named.
    closed : bool
        Whether no process of another node will attach to the cluster.

    Raises
    ------
    ConfigError
        If there are other nodes and this one has no address for them.
    """
    if interface:
        return of_interface(interface)
    one_node = world.size == world.local_size
    if one_node and closed:
        return LOOPBACK
    known = {
        name: address
        for name, address in interfaces().items()
        if not ipaddress.ip_address(address).is_loopback
    }
    if not known:
        if one_node or world.local_size is None:  # which is one node, most likely
            return LOOPBACK
        raise ConfigError(
            f"{socket.gethostname()} has no address but its loopback's, and only "
            f"{world.local_size} of {world.size} ranks",
            "a network that joins the nodes",
            "start the job with the nodes' network (for a container: the host's), or "
            "on one node",
        )
    by_name = _resolved(socket.gethostname())
    for address in by_name:
        if address in known.values():
            return address
    return known.get(_default_route(), next(iter(known.values())))


def _resolved(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(entry[4][0]) for entry in found]


def _default_route() -> str:
    # Iface Destination Gateway ...; the default route's destination is 0.
    for row in _rows(_ROUTES)[1:]:
        if row[1] == "00000000":
            return row[0]
    # Destination, length of its prefix, ... flags, interface.
    for row in _rows(_ROUTES_6):
        if row[1] == "00" and not int(row[-2], 16) & _REJECTS:
            return row[-1]
    return ""


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text().splitlines()]
    except OSError:
        return []
