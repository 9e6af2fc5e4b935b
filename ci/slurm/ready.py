"""Wait until a cluster in containers is ready: slurmctld answers, nodes take work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from docker.errors import APIError

from containers.commands import execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from docker.models.containers import Container

UP_SECONDS = 60
# Node states in which slurmctld gives a node work, or has given it some.
WORKING = {"idle", "mixed", "allocated", "completing"}


def trouble_until_ready(
    login: Container,
    nodes: AbstractSet[str],
    members: Callable[[], Iterable[Container]],
) -> str:
    """Wait until the nodes take work; return "", or what is wrong if they do not.

    Parameters
    ----------
    login : docker.models.containers.Container
        The container in which slurmctld runs.
    nodes : set of str
        Host names to wait for.
    members : callable
        Returns the cluster's containers as they are now.
    """
    awaited = {login.attrs["Config"]["Hostname"], *nodes}
    deadline = time.monotonic() + UP_SECONDS
    seen = ""
    while time.monotonic() < deadline:
        # sinfo asks slurmctld and hangs while that is not there yet.
        try:
            code, seen = execute(login, ["timeout", "5", "sinfo", "-hNo", "%N %T"])
        except APIError as error:
            code, seen = 1, str(error.explanation)
        states = {} if code else dict(line.split() for line in seen.splitlines())
        if all(states.get(name) in WORKING for name in nodes):
            return ""
        if gone := ended(members(), awaited):
            return gone
        time.sleep(0.05)
    return f"after {UP_SECONDS} s sinfo says: {seen}"


def ended(members: Iterable[Container], awaited: AbstractSet[str]) -> str:
    """Return which container has ended, of those that are awaited; "" for none."""
    for container in members:
        if container.status in {"exited", "dead"} and (
            container.attrs["Config"]["Hostname"] in awaited
        ):
            return f"{container.name} ended"
    return ""
