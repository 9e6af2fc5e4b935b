"""Why the agent of a node has ended: its leader knows, who borrows it does not.

All of them lose it in the same moment, and whoever is heard first has no more to say
than that it is gone. So the hub waits for the word of the one that can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import LostError
from dask_runner.hub.ending import later

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.errors import RunnerError
    from dask_runner.hub.roster import Group, Member

#: Seconds for the leader's word. It waits for its agent's end, and each of its own
#: programs that has to end before it can be waited for.
WORD = 2.0


class Agents:
    """The agents that have ended.

    Parameters
    ----------
    tell : callable
        Is called with each rank that has lost its agent, and why.
    """

    def __init__(self, tell: Callable[[Member, RunnerError], None]) -> None:
        self._tell = tell
        self._why: dict[Group, RunnerError] = {}
        self._asking: dict[Group, list[Member]] = {}

    def explained(self, member: Member, why: RunnerError) -> None:
        """Note what a rank says of itself, for those whose agent is its own."""
        if member.hello.leads:
            self._why.setdefault(member.node.group, why)
            for one in self._asking.pop(member.node.group, []):
                self._tell(one, self._why[member.node.group])

    def missed(self, member: Member) -> None:
        """Note that the agent of a rank is gone, which is another's."""
        if why := self._why.get(member.node.group):
            self._tell(member, why)
            return
        self._asking.setdefault(member.node.group, []).append(member)
        later(WORD, self._nobody_knows, member.node.group)

    def _nobody_knows(self, group: Group) -> None:
        for one in self._asking.pop(group, []):
            self._tell(one, GONE)


GONE = LostError(
    "its node agent is gone, and the rank that leads the node says nothing",
    "an agent for as long as the script runs",
    "look for messages of the node's kernel, and of these tasks",
)
