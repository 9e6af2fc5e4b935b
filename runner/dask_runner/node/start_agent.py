"""Start an agent: what its process inherits, and what it is told first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.mpi import world as mpi_world
from dask_runner.node import make_instructions
from dask_runner.node.child import Sibling
from dask_runner.node.follower import HASH_SEED, SEED
from dask_runner.node.instructions import Begin, Imports, RunAgent
from dask_runner.resources import open_files

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from dask_runner.launch.launch import Launch
    from dask_runner.node.child import Process
    from dask_runner.node.directory import RankDirectory
    from dask_runner.node.early_agent import EarlyAgent
    from dask_runner.node.instructions import Published
    from dask_runner.node.shared_agent import AgentProcess

#: Variables that have to be set before the agent's interpreter starts. Dask's nannies
#: set the first, so that all workers hash alike, on all nodes. The forks undo the
#: second (:mod:`dask_runner.programs.openblas`).
AGENT_VARIABLES = {
    HASH_SEED: SEED,
    "OPENBLAS_NUM_THREADS": "1",
}


def added_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return those that the agent has and its rank has not."""
    return {k: v for k, v in AGENT_VARIABLES.items() if not environ.get(k)}


@dataclass(frozen=True, slots=True)
class ToFork:
    """A process that the agent forks at once.

    Attributes
    ----------
    process : Process
    stdin : int
        The descriptor of its standard input; -1 for none.
    opened : sequence of int
        Further descriptors that it inherits.
    """

    process: Process
    stdin: int = -1
    opened: Sequence[int] = ()

    async def sibling(self, directory: RankDirectory) -> tuple[Sibling, socket.socket]:
        """Return what the agent is told of it, and its end of its lifeline."""
        lifeline, name = await self.process.expect(), self.process.name
        told = Sibling(
            name,
            lifeline.fileno(),
            directory.log(name),
            os.dup(self.stdin) if self.stdin >= 0 else -1,
            list(self.opened),
        )
        return told, lifeline


async def start_agent(
    agent: AgentProcess,
    to_fork: Sequence[ToFork],
    launch: Launch,
    directory: RankDirectory,
    *,
    carrier: ToFork | None,
    serves: bool,
    published: Published | None,
    early: EarlyAgent | None,
) -> None:
    """Start the agent of a rank.

    Parameters
    ----------
    agent : AgentProcess
    to_fork : sequence of ToFork
    launch : Launch
    directory : RankDirectory
        Gets the logs.
    carrier : ToFork or None
        What it forks first.
    serves : bool
        Whether the agent has workers.
    published : Published or None
        Where the record may be, in rank 0.
    early : EarlyAgent or None
        The process that is to be the agent; None for a fresh one.
    """
    given: list[socket.socket] = []
    forks: list[Sibling] = []
    for one in (*([carrier] if carrier else ()), *to_fork):
        sibling, lifeline = await one.sibling(directory)
        given.append(lifeline)
        forks.append(sibling)
    first = forks[: 1 if carrier else 0]
    stdins = [fork.stdin for fork in forks if fork.stdin >= 0]
    environ, settings = launch.environ, launch.settings
    added = added_variables(environ)
    launchers = []
    if settings.mpi_tasks:
        added |= mpi_world.variables(environ)
        launchers = mpi_world.descriptors(environ)
    # What it prints before it runs our code goes to its log as well.
    log = directory.log("agent")
    complaints = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    users = _users_stderr()
    run = RunAgent(
        siblings=tuple(forks[len(first) :]),
        serves=serves,
        launchers=tuple(launchers),
        imports=Imports(
            tuple(added),
            tuple(settings.preload_modules),
            bool(settings.packages) or bool(launch.joins),
        ),
        silence=settings.silence,
        nannies=make_instructions.has_nannies(settings),
        files=open_files.given(),
        top=os.getpid(),
        stderr=users,
        published=published,
        carrier=first[0] if first else None,
    )
    its = directory.environment(added)
    own = [users, *(end.fileno() for end in given), *stdins]
    if early is not None:
        early.give(own, complaints)
        await agent.adopt(early)
        agent.send(Begin(its, log))
    else:
        # An early one has inherited them.
        others = [*(number for fork in forks for number in fork.opened), *launchers]
        await agent.start(its, log, stderr=complaints, pass_fds=[*own, *others])
    agent.send(run)
    for end in given:
        end.close()
    for descriptor in (users, complaints, *stdins):
        os.close(descriptor)


def _users_stderr() -> int:
    try:
        return os.dup(2)
    except OSError:  # it is closed
        return os.open(os.devnull, os.O_WRONLY)
