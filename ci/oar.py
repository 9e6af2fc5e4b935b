"""OAR in containers: the nodes' cores, and when its server gives work to them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ci.slurm.ready import UP_SECONDS, ended
from containers.commands import execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from docker.models.containers import Container


def files(nodes: Sequence[str], cpus: int, memory: int) -> Mapping[str, str]:
    """Return what :file:`containers/oar/oar` reads: a line for each core."""
    del memory
    lines = [f"{name} {core}\n" for name in nodes for core in range(cpus)]
    return {"etc/oar-cluster": "".join(lines)}


def trouble(
    login: Container,
    nodes: AbstractSet[str],
    members: Callable[[], Iterable[Container]],
) -> str:
    """Wait until all nodes are alive; return "", or what is wrong if they are not."""
    deadline, seen = time.monotonic() + UP_SECONDS, ""
    while time.monotonic() < deadline:
        _, seen = execute(login, ["timeout", "10", "oarnodes", "-s"])
        if nodes <= set(_alive(seen)) and _serves(login):
            return ""
        if gone := ended(members(), nodes):
            return gone
        time.sleep(0.2)
    return f"after {UP_SECONDS} s oarnodes says: {seen}"


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
