"""A rank's child processes: started early, and instructed when the hub is found.

The agent is the first: it imports Dask and forks the others. A rank whose node has an
agent already starts none, and has that one fork its workers
(:mod:`dask_runner.node.shared_agent`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.launch.own_variables import CLUSTER_VARIABLE, LAUNCH_VARIABLE
from dask_runner.launch.plan import Role
from dask_runner.meeting.addresses import of_interface
from dask_runner.mpi import image
from dask_runner.mpi import world as mpi_world
from dask_runner.node import find_hub, make_instructions
from dask_runner.node import messages as n
from dask_runner.node.agent_sharing import borrow
from dask_runner.node.child import Process
from dask_runner.node.client_program import ClientProgram
from dask_runner.node.directory import RankDirectory
from dask_runner.node.events import Source
from dask_runner.node.exits import StoppedProcesses
from dask_runner.node.fork_context import ForkContext
from dask_runner.node.instructions import Makes
from dask_runner.node.kept_logs import KeptLogs
from dask_runner.node.kill_timer import LAST_STEPS_SECONDS
from dask_runner.node.peer import Peer, SocketPeer
from dask_runner.node.shared_agent import WITH_ITS_LEADER, AgentProcess, SharedAgent
from dask_runner.node.start_agent import ToFork, start_agent
from dask_runner.resources.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dask_runner.launch.launch import Launch
    from dask_runner.meeting.record import Record
    from dask_runner.node.agent_sharing import AgentSharing
    from dask_runner.node.events import Event
    from dask_runner.node.instructions import Published
    from dask_runner.node.launcher_child import Launched
    from dask_runner.node.script import Client
    from dask_runner.resources.machine import Snapshot
    from dask_runner.resources.rank_share import RankShare


#: Seconds for the last that was printed to be written, once nobody prints any more.
CARRY_SECONDS = 1.0


class Children:
    """The processes of one rank.

    Parameters
    ----------
    launch : Launch
    snapshot : Snapshot
        The machine as the rank sees it.
    events : asyncio.Queue
        Gets their messages and ends.
    launched : Launched
        The process that the launcher started for the rank.
    sharing : AgentSharing
        Whether the rank lends its agent, or borrows one.
    above : Client, optional
        The client, if it is the user's process and no child.
    published : Published or None
        Where the record may be, in rank 0.
    """

    def __init__(
        self,
        launch: Launch,
        snapshot: Snapshot,
        events: asyncio.Queue[Event],
        launched: Launched,
        sharing: AgentSharing,
        above: Client | None,
        published: Published | None,
    ) -> None:
        self._launch = launch
        self._snapshot = snapshot
        self._events = events
        self._launched = launched
        self._sharing = sharing
        self._early = sharing.early
        self._roles = launch.plan.roles(launch.world.rank)
        self._directory: RankDirectory | None = None
        self._stopped = StoppedProcesses(launch.settings.silence)
        self._found = n.Found({})
        self._published = published
        self.agent: Peer = Process(Source.agent, events)
        self.scheduler = Process(Source.scheduler, events)
        own = Process(Source.client, events)
        self._forks = {"scheduler": self.scheduler, "client": own}
        self.client: Client = above or own
        self._program: ClientProgram | None = None
        if launch.program is not None and Role.client in self._roles:
            self._program = ClientProgram(launch.program, launch)
        #: Set when the client, if there is one, has its instructions.
        self.knows_its_program = asyncio.Event()
        self._not_forked: set[str] = set()
        self._carriers: list[Process] = []
        self._logs_of_workers: dict[str, str] = {}

    async def warm_up(self) -> None:
        """Start the agent, which imports Dask while the ranks look for the hub.

        Raises
        ------
        ConfigError
            If the rank cannot take part.
        """
        launch, settings = self._launch, self._launch.settings
        place = self._sharing.scratch or scratch(self._snapshot).path
        kept = None
        if settings.log_directory:
            kept = KeptLogs(settings.log_directory, launch.world.job_id)
        self._directory = RankDirectory(
            place, launch.environ, kept, before=self._tell_early
        )
        if settings.mpi_tasks:
            mpi_world.check(launch.world, launch.plan, settings.spare)
        if settings.interface:
            of_interface(settings.interface)
        siblings = []
        if Role.scheduler in self._roles:
            siblings.append(ToFork(self._forks["scheduler"]))
            own = self._directory.log("scheduler")
            self._directory.keep(own, "scheduler", "scheduler")
        if (its := self._program) is not None:
            siblings.append(ToFork(self._forks["client"], its.stdin, its.descriptors))
        works_alone = Role.worker in self._roles and not self._sharing.have_agent
        if siblings or self._sharing.leads or works_alone:
            await self._start_agent(siblings)

    def _tell_early(self, directory: Path) -> None:
        """Have the agent remove this directory if this process is killed."""
        if self._early is not None:
            self._early.tell(Makes(str(directory), self._published))

    def hello(self) -> m.Hello:
        """Return the rank's first message to the hub."""
        return find_hub.hello(
            self._launch.world,
            self._snapshot,
            # The snapshot does not have the variable that names a bound MPI.
            image.library(self._launch.environ),
        )

    @property
    def serves(self) -> bool:
        """Whether the rank's agent has workers."""
        return self._sharing.leads or Role.worker in self._roles

    @property
    def lent(self) -> AgentProcess | None:
        """The rank's own agent, if others may share it."""
        if self._sharing.leads and isinstance(self.agent, AgentProcess):
            return self.agent
        return None

    @property
    def context(self) -> ForkContext:
        """What the rank's workers need from the process that forks them."""
        return ForkContext.of(self._launch, self._snapshot, self.directory.path)

    @property
    def not_forked_yet(self) -> str:
        """The processes that the agent has not forked yet, in words."""
        return " and the ".join(sorted(self._not_forked))

    @property
    def directory(self) -> RankDirectory:
        """The rank's directory, once the rank is warmed up."""
        if self._directory is None:
            raise LookupError("the rank has no directory yet")
        return self._directory

    def logs(self) -> dict[str, str]:
        """Return where the rank's processes have logs, by their names; or will."""
        if self._directory is None:
            return {}
        found, own = {}, self._directory
        if Role.scheduler in self._roles:
            found["scheduler"] = own.where(own.log("scheduler"))
        if isinstance(self.agent, AgentProcess):
            found[f"{m.AGENT}{socket.gethostname()}"] = own.where(own.log("agent"))
        return found | self._logs_of_workers

    async def _start_agent(self, forks: Sequence[ToFork]) -> None:
        self._not_forked |= {fork.process.name for fork in forks}
        name = f"agent-{socket.gethostname()}"
        self.directory.keep(self.directory.log("agent"), name, name)
        agent = AgentProcess(self._events, self.directory)
        self.agent = agent
        early, self._early = self._early, None
        carrier, settings = None, self._launch.settings
        if settings.label is not False or settings.log_directory:
            self._forks["carrier"] = one = Process(Source.carrier, self._events)
            self._carriers.append(one)
            carrier = ToFork(one)
        await start_agent(
            agent,
            forks,
            self._launch,
            self.directory,
            carrier=carrier,
            serves=self.serves,
            published=self._published,
            early=early,
        )

    def found(self, record: Record) -> None:
        """Tell the agent and the client, once the hub is found.

        Raises
        ------
        ConfigError
            If the keys cannot be written for the programs that need files.
        """
        tls = self.directory.tls(record)
        self._found = n.Found(tls)
        self.agent.send(self._found)
        if self._program is not None:
            own = {
                CLUSTER_VARIABLE: record.nonce,
                LAUNCH_VARIABLE: self._launch.world.key,
            }
            self._program.found({**tls, **own})

    def schedule(self, record: Record, host: str, packages: str) -> None:
        """Instruct the scheduler, if it is here, once the packages are there as well.

        *packages* is the directory of the cluster's packages; empty for none.

        Raises
        ------
        ConfigError
            If an option about it is invalid on this node.
        """
        if Role.scheduler in self._roles:
            tls = self.directory.tls(record)
            copy = self.directory.keep(
                self.directory.log("scheduler"), "scheduler", "scheduler"
            )
            run = make_instructions.scheduler(
                self._launch, host, tls, record, packages, copy
            )
            self.scheduler.send(run)

    async def read_program(self) -> None:
        """Instruct the client, once the program is read and the hub is found.

        Raises
        ------
        ConfigError, AssemblyError
            If the program cannot be run.
        """
        if self._program is not None:
            self.client.send(await self._program.instructions())
        self.knows_its_program.set()

    async def work(
        self, start: m.Start, record: Record, host: str, join: str, packages: str
    ) -> tuple[str, ...]:
        """Have an agent start the rank's workers; return warnings for the user.

        *host* is the address by which they are reached. *join* is the name of the
        rank's join, by which they are called, and *packages* the directory of the
        cluster's packages; both are empty for none.

        Raises
        ------
        ConfigError
            If an option about the workers is invalid on this node.
        """
        place = self._snapshot, self.directory
        work, warnings = make_instructions.workers(
            self._launch, *place, start, host, record, join, packages
        )
        self._logs_of_workers = {
            str(worker.name): self.directory.where(log)
            for worker, log in zip(work.workers, work.logs, strict=True)
        }
        if not self.agent.running:
            await self._share_an_agent()
        if not self.agent.running:
            await self._start_agent(())
            self.agent.send(self._found)
        self.agent.send(work)
        return (*self.directory.warnings, *warnings)

    def share(self, start: m.Start) -> RankShare:
        """Return what the rank has of its node."""
        return make_instructions.share_of(self._launch, self._snapshot, start)

    def start_workers(self, message: m.StartWorkers) -> None:
        """Have the agent start workers again."""
        self.agent.send(message)

    async def _share_an_agent(self) -> None:
        """Use the agent of the node's leader, if it can fork for this rank."""
        lent, name = self._sharing.agent, self._sharing.asks_at
        if lent is not None and lent.running:
            rank = self._launch.world.rank
            self.agent = SharedAgent(rank, lent, self._events)
        elif name and (channel := await borrow(name, self.context)):
            self.agent = agent = SocketPeer(Source.agent, self._events)
            agent.why = WITH_ITS_LEADER
            agent.use(channel)

    def kill_stopped(self, every: float) -> None:
        """Kill processes of the rank that were stopped and not continued."""
        ours: list[Peer | Client | Launched] = [self.agent, self.scheduler, self.client]
        ours += [self._launched, *self._carriers]
        watched = {one.pid: one for one in ours if one.running and one.pid}
        for pid in self._stopped.too_long(set(watched), every):
            watched[pid].why = "it was stopped and not continued"
            if watched[pid] is self.agent:
                # Not its group: that has the resource tracker, which cleans /dev/shm.
                os.kill(pid, signal.SIGKILL)
            else:
                watched[pid].signal(signal.SIGKILL)

    async def leave(self, patience: float) -> None:
        """End all processes; kill them after *patience* seconds."""
        if self._early is not None:
            self._early.give_up()  # the rank was not fit to start it
        await self._forks["client"].stop(0.0)
        await asyncio.gather(
            self.agent.finish(patience, m.Close(0)),
            self.scheduler.stop(patience, ask=m.Finish()),
        )
        # The agent ends last, because it removes what this process leaves if it is
        # killed. As a rank of MPI it waits for the others in MPI_Finalize; if it is
        # killed there, their calls and mpiexec fail.
        if patience and self._launch.settings.mpi_tasks:
            patience = max(patience, mpi_world.FINALIZE)
        # Until now the agent would have ended this process if it were stopped
        # (SIGSTOP).
        self._launched.die_in(patience + LAST_STEPS_SECONDS)
        await self.agent.stop(patience, ask=m.Close(0))
        self._launched.die_in(0)

    async def carried(self) -> None:
        """Wait until all is written that was printed, but not for ever."""
        ends = (one.wait(CARRY_SECONDS) for one in self._carriers)
        await asyncio.gather(*ends)

    def tidy(self) -> None:
        """Remove the rank's directory."""
        if self._directory is not None:
            self._directory.remove()

    def note_forked(self, forked: n.Forked) -> None:
        """Note a process that the agent has forked."""
        self._not_forked.discard(forked.name)
        self._forks[forked.name].note_forked(forked.pid)
