"""Under which address this node is known to the others.

No address on the Internet is ever probed: compute nodes often have no route to
one, and Dask's own probe of 8.8.8.8 fails there (dask-jobqueue#681).
"""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from dask_runner.world import World

LOOPBACK = "127.0.0.1"

_SIOCGIFADDR = 0x8915  # linux/sockios.h; the standard library lists no addresses
_ROUTES = Path("/proc/net/route")


def interfaces() -> dict[str, str]:
    """Return the IPv4 address of each interface that has one."""
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
        If it does not exist here or has no IPv4 address.
    """
    known = interfaces()
    if name not in known:
        listed = ", ".join(f"{key} ({value})" for key, value in known.items())
        raise ConfigError(
            f"--interface {name} on {socket.gethostname()}, which has {listed}",
            "an interface with an IPv4 address on every node",
            "name one of these, or leave --interface out",
        )
    return known[name]


def own_address(world: World, interface: str | None) -> str:
    """Choose the address at which rank 0 listens for the other ranks.

    The given interface; loopback if all ranks are on this node; else the
    address of the node's own name, then the one of the default route, then any.
    """
    if interface:
        return of_interface(interface)
    if world.size == world.local_size:
        return LOOPBACK
    known = {
        name: address
        for name, address in interfaces().items()
        if not address.startswith("127.")
    }
    if not known:
        return LOOPBACK
    by_name = _resolved(socket.gethostname())
    for address in by_name:
        if address in known.values():
            return address
    return known.get(_default_route(), next(iter(known.values())))


def _resolved(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(entry[4][0]) for entry in found]


def _default_route() -> str:
    # Iface Destination Gateway ...; the default route's destination is 0.
    try:
        rows = [line.split() for line in _ROUTES.read_text().splitlines()[1:]]
    except OSError:
        return ""
    return next((row[0] for row in rows if row[1] == "00000000"), "")
