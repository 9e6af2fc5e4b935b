"""Whether slurmctld answers, and its nodes take work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docker.errors import APIError

from ci.ready import Seen
from containers.commands import execute

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from docker.models.containers import Container

# Node states in which slurmctld gives a node work, or has given it some.
WORKING = {"idle", "mixed", "allocated", "completing"}


def look(login: Container, nodes: AbstractSet[str]) -> Seen:
    """Ask slurmctld whether the nodes take work."""
    # sinfo hangs while slurmctld is not there yet.
    try:
        code, said = execute(login, ["timeout", "5", "sinfo", "-hNo", "%N %T"])
    except APIError as error:
        code, said = 1, str(error.explanation)
    states = {} if code else dict(line.split() for line in said.splitlines())
    ready = all(states.get(name) in WORKING for name in nodes)
    return Seen(ready, f"sinfo says: {said}")
