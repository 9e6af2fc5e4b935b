"""Why the agent of a node has ended: the hub waits for the leader's reason.

Ranks that share an agent lose it at the same moment. Only the leader, whose child the
agent is, knows the reason, and another rank may report the loss first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import LostError
from dask_runner.hub.ending import later

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.errors import RunnerError
    from dask_runner.hub.roster import Group, Member

#: Seconds for the leader to report the reason. Before that, it waits for the end of its
#: agent and of the agent's programs.
REASON_SECONDS = 2.0


class Agents:
    """The agents that have ended.

    Parameters
    ----------
    tell : callable
        Is called with each rank that has lost its agent, and the reason.
    """

    def __init__(self, tell: Callable[[Member, RunnerError], None]) -> None:
        self._tell = tell
        self._why: dict[Group, RunnerError] = {}
        self._asking: dict[Group, list[Member]] = {}

    def explained(self, member: Member, why: RunnerError) -> None:
        """Note the reason that a rank reports, for the ranks that share its agent."""
        if member.hello.leads:
            self._why.setdefault(member.node.group, why)
            for one in self._asking.pop(member.node.group, []):
                self._tell(one, self._why[member.node.group])

    def missed(self, member: Member) -> None:
        """Note that a rank has lost an agent that is another rank's."""
        if why := self._why.get(member.node.group):
            self._tell(member, why)
            return
        self._asking.setdefault(member.node.group, []).append(member)
        later(REASON_SECONDS, self._nobody_knows, member.node.group)

    def _nobody_knows(self, group: Group) -> None:
        for one in self._asking.pop(group, []):
            self._tell(one, GONE)


GONE = LostError(
    "its node agent is gone, and the rank that leads the node reports no reason",
    "an agent for as long as the script runs",
    "look for messages of the node's kernel, and of these tasks",
)
