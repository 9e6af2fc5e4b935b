"""OAR in containers: the nodes' cores, and when its server gives work to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci.ready import Seen
from containers.commands import execute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from docker.models.containers import Container


def files(nodes: Sequence[str], cpus: int, memory: int) -> Mapping[str, str]:
    """Return what :file:`containers/oar/oar` reads: a line for each core."""
    del memory
    lines = [f"{name} {core}\n" for name in nodes for core in range(cpus)]
    return {"etc/oar-cluster": "".join(lines)}


def look(login: Container, nodes: AbstractSet[str]) -> Seen:
    """Ask the server whether all cores of the nodes are alive."""
    _, said = execute(login, ["timeout", "10", "oarnodes", "-s"])
    ready = nodes <= set(_alive(said)) and _serves(login)
    return Seen(ready, f"oarnodes says: {said}")


def _alive(listed: str) -> Iterable[str]:
    """Yield the hosts of which all cores are alive."""
    # c1:
    #     1: Alive
    host, states = "", dict[str, list[str]]()
    for line in listed.splitlines():
        name, _, state = line.strip().partition(":")
        if line.startswith(" "):
            states[host].append(state.strip())
        elif line.endswith(":"):
            host, states[name] = name, []
    return (name for name, each in states.items() if set(each) == {"Alive"})


def _serves(login: Container) -> bool:
    """Return whether the server accepts connections."""
    code, _ = execute(login, ["bash", "-c", "</dev/tcp/localhost/6666"])
    return not code
