"""What the leader of a node does for another rank: it plays for it, lends, or neither.

All that the leader decides about other ranks is decided here. What the workers need
from the agent is compared in :mod:`dask_runner.node.fork_context`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dask_runner.errors import RunnerError
from dask_runner.launch.detect import detect
from dask_runner.launch.options import PREFIX
from dask_runner.launch.plan import Role
from dask_runner.node import follower
from dask_runner.node.fork_context import ForkContext
from dask_runner.node.introduction import Introduction
from dask_runner.resources.machine import take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.launch.launch import Launch
    from dask_runner.launch.world import World
    from dask_runner.node.rank import Rank
    from dask_runner.node.shared_agent import AgentProcess
    from dask_runner.resources.machine import Snapshot


@dataclass(frozen=True, slots=True)
class Playing:
    """What the leader needs to play for a follower.

    Attributes
    ----------
    launch : Launch
        The follower's.
    snapshot : Snapshot
        The machine as the follower sees it.
    agent : AgentProcess
        The leader's, for the follower's workers.
    """

    launch: Launch
    snapshot: Snapshot
    agent: AgentProcess


class Admission:
    """The leader's decisions about the other ranks of its node.

    Parameters
    ----------
    rank : Rank
        The leader's own rank.
    launch : Launch
        The leader's launch.
    args : sequence of str
        The leader's arguments of ``dask-runner``.
    collective : bool
        Whether each rank has to come to the meeting itself.
    """

    def __init__(
        self, rank: Rank, launch: Launch, args: Sequence[str], *, collective: bool
    ) -> None:
        self._rank = rank
        self._launch = launch
        self._collective = collective
        self._own = Introduction.read(follower.introduce(args))

    def world(self, introduction: Introduction) -> World | None:
        """Return the follower's World, if it belongs to the leader's launch."""
        own = self._launch.world
        try:
            world = detect(
                introduction.environ, self._launch.settings.launcher, introduction.args
            )
        except RunnerError:
            return None  # the rank will report this error itself
        alike = world is not None and (
            (world.launcher, world.key, world.size, world.local_size)
            == (own.launcher, own.key, own.size, own.local_size)
        )
        return world if alike else None

    async def play(
        self, world: World, introduction: Introduction, pid: int
    ) -> Playing | None:
        """Return how to play a follower; None to send it away."""
        offer = await self._rank.offer()
        if offer is None or not pid:
            return None
        launch = replace(self._launch, world=world, environ=introduction.environ)
        directory = self._launch.settings.local_directory
        try:
            snapshot = take(introduction.environ, directory, pid=pid)
        except OSError:
            return None  # it has ended, which its connection shows
        # Its own directory will be in the leader's.
        context = ForkContext.of(launch, snapshot, self._rank.directory)
        if self._why_not_play(introduction, launch) or context.why_not(offer.context):
            return None
        return Playing(launch, snapshot, offer.agent)

    async def lend(self, context: ForkContext) -> AgentProcess | str:
        """Return the agent for a rank that plays for itself; or why it gets none."""
        offer = await self._rank.offer()
        if offer is None:
            return "the leader has no agent to lend"
        return context.why_not(offer.context) or offer.agent

    def _why_not_play(self, introduction: Introduction, launch: Launch) -> str:
        """Return why no other rank than itself can play a rank; "" if one can."""
        own, theirs = self._own, introduction.environ
        objections = (
            (self._collective, "each rank has to come to the meeting itself"),
            (
                replace(introduction, environ={}) != replace(own, environ={}),
                "another program, or other directories",
            ),
            (_options(theirs) != _options(own.environ), "other options"),
            (
                launch.plan.roles(launch.world.rank) != frozenset({Role.worker}),
                "it has more to do than to work",
            ),
        )
        return next((why for objects, why in objections if objects), "")


def _options(environ: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environ.items() if k.startswith(PREFIX)}
