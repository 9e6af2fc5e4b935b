"""What a rank tells the hub of the ends of its scheduler and its agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import LostError
from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from dask_runner.node.children import Children
    from dask_runner.node.contact import RankContact
    from dask_runner.node.exits import Ended


class ChildEnds:
    """The ends of the scheduler and the agent of one rank.

    Parameters
    ----------
    children : Children
    contact : RankContact
    node : str
        The name of the rank's node.
    """

    def __init__(self, children: Children, contact: RankContact, node: str) -> None:
        self._children = children
        self._contact = contact
        self._node = node
        self._scheduler_closed = False
        self._agent_failed = False

    def scheduler_closed(self, message: m.SchedulerClosed) -> None:
        """Note that the scheduler ends in order."""
        self._scheduler_closed = True
        self._contact.say(message)

    def scheduler_ended(self, ended: Ended) -> None:
        """Report a scheduler that was lost."""
        if self._scheduler_closed:
            return
        tail = self._children.directory.tail("scheduler")
        self._contact.fail(
            LostError(
                f"the scheduler on {self._node} {ended}{tail}",
                "a scheduler for as long as the script runs",
                "give rank 0 more memory, if it was killed for that, and keep large "
                "results on the workers (persist, not compute)",
            )
        )

    def agent_failed(self, message: m.Failed) -> None:
        """Report why the agent cannot do its part; its end is no news then."""
        self._agent_failed = True
        self._contact.say(message)
        # The agent may wait for an answer before it ends.
        self._children.agent.send(m.Ping())

    def agent_ended(self, ended: Ended) -> None:
        """Report an agent that was lost, if it still had something to do."""
        # An agent without workers may end once it has forked the other processes.
        if self._scheduler_closed or self._agent_failed:
            return
        how = f"{ended}{self._children.directory.tail('agent')}"
        if self._children.not_forked_yet:
            self._contact.fail(
                LostError(
                    f"its node agent {how}",
                    f"an agent that starts the {self._children.not_forked_yet}",
                    "look for what ended it: the node's memory, another program",
                )
            )
        elif self._children.serves:
            self._contact.say(m.AgentGone(how))

    def carrier_ended(self, ended: Ended) -> None:
        """Report a carrier that was lost; it ends by itself with those who print."""
        if ended.status:
            text = f"what its workers print goes on without labels: its carrier {ended}"
            self._contact.say(m.Note(text))

    def lent_agent_gone(self, message: m.AgentGone) -> None:
        """Report the end of an agent that another rank of the node has lent."""
        if not self._agent_failed:
            self._contact.say(message)
