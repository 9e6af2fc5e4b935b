"""Wait until a cluster in containers is ready, whatever its system is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from docker.models.containers import Container

    #: Asks the login node whether all nodes of these names take work.
    Look = Callable[[Container, AbstractSet[str]], "Seen"]

UP_SECONDS = 60
#: Seconds between two looks, which take a tenth of a second themselves.
_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """What a system says of its nodes.

    Attributes
    ----------
    ready : bool
        Whether all of them take work.
    said : str
        What it printed, behind the command's name.
    """

    ready: bool
    said: str


def trouble(
    look: Look,
    login: Container,
    nodes: AbstractSet[str],
    members: Callable[[], Iterable[Container]],
) -> str:
    """Wait until the nodes take work; return "", or what is wrong if they do not.

    Parameters
    ----------
    look : callable
    login : docker.models.containers.Container
        The container in which the system's server runs.
    nodes : set of str
        Host names to wait for.
    members : callable
        Returns the cluster's containers as they are now.
    """
    awaited = {login.attrs["Config"]["Hostname"], *nodes}
    deadline = time.monotonic() + UP_SECONDS
    seen = Seen(ready=False, said="nothing was asked")
    while time.monotonic() < deadline:
        seen = look(login, nodes)
        if seen.ready:
            return ""
        if gone := _ended(members(), awaited):
            return gone
        time.sleep(_PAUSE)
    return f"after {UP_SECONDS} s {seen.said}"


def _ended(members: Iterable[Container], awaited: AbstractSet[str]) -> str:
    for container in members:
        if container.status in {"exited", "dead"} and (
            container.attrs["Config"]["Hostname"] in awaited
        ):
            return f"{container.name} ended"
    return ""
