"""A rank's own processes: started early, told what to do when the hub is found.

The agent is the first: it imports Dask and forks the others. A rank whose node has
an agent already starts none, and asks that one for its workers
(:mod:`dask_runner.node.agent_socket`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.launch.plan import Role
from dask_runner.meeting.addresses import of_interface
from dask_runner.mpi import image
from dask_runner.mpi import world as mpi_world
from dask_runner.node import agent_socket, find_hub, instructions, program
from dask_runner.node.child import Peer, Process, Sibling
from dask_runner.node.directory import Workplace
from dask_runner.node.exits import Standing
from dask_runner.node.orphans import LAST
from dask_runner.resources import open_files
from dask_runner.resources.cuda_workers import is_fleet
from dask_runner.resources.scratch import scratch

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from dask_runner.launch.launch import Launch
    from dask_runner.launch.settings import Settings
    from dask_runner.meeting.record import Record
    from dask_runner.node.child import Event
    from dask_runner.node.launcher_child import Launched
    from dask_runner.node.script import Client
    from dask_runner.resources.machine import Snapshot

#: Variables that must be set before the agent's interpreter begins. Dask gives the
#: first to its workers (distributed.nanny.pre-spawn-environ); by the second, which
#: its nannies set, all workers hash alike, on all nodes. The third is undone in what is
#: forked (:mod:`dask_runner.programs.openblas`).
BEFORE = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "PYTHONHASHSEED": "6640",
    "OPENBLAS_NUM_THREADS": "1",
}


class Crew:
    """The processes of one rank.

    Parameters
    ----------
    launch : Launch
    events : asyncio.Queue
        Where what they say arrives.
    launched : Launched
        The process that the launcher started for the rank.
    above : Client, optional
        The client where it is not ours to start.
    """

    def __init__(
        self,
        launch: Launch,
        events: asyncio.Queue[Event],
        launched: Launched,
        above: Client | None,
    ) -> None:
        self._launch = launch
        self._events = events
        self._launched = launched
        self._roles = launch.plan.roles(launch.world.rank)
        self._snapshot: Snapshot | None = None
        self._place: Workplace | None = None
        self._work: m.Run | None = None
        self._standing = Standing(launch.settings.silence)
        self._found = m.Found({})
        self.agent: Peer = Process("agent", events)
        self.scheduler = Process("scheduler", events)
        self.client: Client = above or Process("client", events)
        self._program = launch.program if Role.client in self._roles else None
        self._opened = list(self._program.descriptors) if self._program else []
        self._material: dict[str, list[str]] = {}
        self._linked = asyncio.Event()
        #: Whether the client is told, where there is one, what to run.
        self.knows_its_program = asyncio.Event()
        self.home = ""
        self.leads = False
        self._unborn: set[str] = set()

    async def warm_up(self) -> None:
        """Let Dask be imported while the ranks look for each other.

        Raises
        ------
        ConfigError
            If the rank cannot do its part.
        """
        world, environ = self._launch.world, self._launch.environ
        self._snapshot = self._launched.look(self._launch)
        place = self._launched.scratch or scratch(self._snapshot).path
        self._place = Workplace(place, environ)
        if self._launch.settings.mpi_tasks:
            mpi_world.check(world, self._launch.plan)
        else:
            self.home = agent_socket.home(world, environ)
        self.leads = bool(self.home) and world.local_rank == 0
        if self._launch.settings.interface:
            of_interface(self._launch.settings.interface)
        siblings = []
        if Role.scheduler in self._roles:
            siblings.append((self.scheduler, -1))
        if self._program is not None:
            assert isinstance(self.client, Process)  # noqa: S101  a program is ours
            siblings.append((self.client, -1 if _stdin_is_unusable() else 0))
        works_alone = Role.worker in self._roles and not self.home
        if siblings or self.leads or works_alone:
            await self._start_agent(siblings)

    def hello(self, node_name: str) -> m.Hello:
        """Return what the rank says first at the hub."""
        assert self._snapshot is not None  # noqa: S101  taken before all else
        return find_hub.hello(
            self._launch.world,
            node_name,
            self._snapshot,
            self.home,
            leads=self.leads,
            # The snapshot has not the variable that names a bound one.
            mpi=image.library(self._launch.environ),
        )

    @property
    def serves(self) -> bool:
        """Whether its agent has workers to look after."""
        return self.leads or Role.worker in self._roles

    @property
    def has_own_agent(self) -> bool:
        """Whether its agent is no other rank's."""
        return isinstance(self.agent, Process)

    @property
    def unborn(self) -> str:
        """What its agent has not forked yet, in words."""
        return " and the ".join(sorted(self._unborn))

    @property
    def place(self) -> Workplace:
        """The rank's directory."""
        assert self._place is not None  # noqa: S101  made before all else
        return self._place

    async def _start_agent(self, siblings: Sequence[tuple[Process, int]]) -> None:
        """Start it; *siblings* are what it forks, each with its standard input."""
        given: list[socket.socket] = []
        forks: list[Sibling] = []
        for process, stdin in siblings:
            lifeline = await process.expect()
            given.append(lifeline)
            forks.append(
                Sibling(
                    process.name,
                    lifeline.fileno(),
                    self.place.log(process.name),
                    os.dup(stdin) if stdin >= 0 else -1,
                    self._opened if process is self.client else [],
                )
            )
        if listening := self._listen():
            given.append(listening)
        stdins = [fork.stdin for fork in forks if fork.stdin >= 0]
        environ = self._launch.environ
        added = {name: BEFORE[name] for name in BEFORE if not environ.get(name)}
        launchers = []
        if self._launch.settings.mpi_tasks:
            added |= mpi_world.variables(environ)
            launchers = mpi_world.descriptors(environ)
        # What it says before it has a word of ours is for its log as well.
        log = self.place.log("agent")
        complaints = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        users = _users_stderr()
        plan = {
            "siblings": [asdict(fork) for fork in forks],
            "serves": self.serves,
            "socket": listening.fileno() if listening else -1,
            "place": self.own_place.plain(),
            "launchers": launchers,
            "added": list(added),
            "silence": self._launch.settings.silence,
            "nannies": has_nannies(self._launch.settings),
            "preload_modules": list(self._launch.settings.preload_modules),
            "files": open_files.given(),
            "top": os.getpid(),
            "stderr": users,
        }
        self._unborn |= {fork.name for fork in forks}
        agent = Process("agent", self._events)
        self.agent = agent
        await agent.start(
            self.place.environment(added),
            log,
            json.dumps(plan),
            stderr=complaints,
            pass_fds=[
                users,
                *(end.fileno() for end in given),
                *stdins,
                *(number for fork in forks for number in fork.opened),
                *launchers,
            ],
        )
        for end in given:
            end.close()
        for descriptor in (users, complaints, *stdins):
            os.close(descriptor)

    def _listen(self) -> socket.socket | None:
        if not self.leads:
            return None
        listening = agent_socket.listen(self.home)
        # Somebody else's name is nobody's agent.
        self.leads = listening is not None
        return listening

    @property
    def own_place(self) -> agent_socket.Place:
        """What workers inherit from the rank."""
        assert self._snapshot is not None  # noqa: S101  taken before all else
        return agent_socket.Place.of(self._snapshot, self.place.path)

    def found(self, record: Record, host: str, files: Sequence[str]) -> None:
        """Tell scheduler and client what they need, once the hub is found.

        *files* are those of the record that this rank has written.

        Raises
        ------
        ConfigError
            If the keys cannot be written for the programs that need files.
        """
        tls = self.place.tls(record)
        text = record.dump() if files else ""
        self._found = m.Found(tls, text, list(files))
        self.agent.send(self._found)
        if Role.scheduler in self._roles:
            spec = instructions.scheduler(self._launch, host, tls)
            self.scheduler.send(m.Run(spec | _material(record)))
        self._material = _material(record)
        self._linked.set()

    async def read_program(self) -> None:
        """Tell the client what to run, once that is read and the hub is found.

        Raises
        ------
        ConfigError, AssemblyError
            If it cannot be run.
        """
        if self._program is not None:
            try:
                text = await program.read(self._program, self._launch)
            finally:
                for descriptor in self._opened:  # the client has them now
                    os.close(descriptor)
            await self._linked.wait()
            settings, environ = self._launch.settings, self._found.environ
            spec = instructions.client(self._program, settings, environ, text)
            self.client.send(m.Run(spec | self._material))
        self.knows_its_program.set()

    async def work(self, start: m.Start, record: Record, host: str) -> tuple[str, ...]:
        """Have the rank's workers started; return warnings for the user.

        Raises
        ------
        ConfigError
            If an option about the workers makes no sense here.
        """
        tls = self.place.tls(record)
        assert self._snapshot is not None  # noqa: S101  taken before all else
        spec, warnings = instructions.work(
            self._launch, self._snapshot, start, host, self.place.path
        )
        spec |= {
            "place": self.own_place.plain(),
            "log": self.place.log("worker"),
            "environ": self.place.environment(tls),
            **_material(record),
        }
        self._work = m.Run(spec)
        sock = await agent_socket.connect(self.home) if start.borrows else None
        if sock is None:
            await self.work_alone()
        else:
            self.agent = Peer("agent", self._events)
            await self.agent.attach(sock)
            self.agent.send(self._work)
        return (*self.place.warnings, *warnings)

    async def work_alone(self) -> None:
        """Have the workers started by an agent of the rank's own."""
        assert self._work is not None  # noqa: S101  it was declined
        if not self.agent.running or not isinstance(self.agent, Process):
            await self._start_agent(())
            self.agent.send(self._found)
        self.agent.send(self._work)

    def end_the_standing(self, every: float) -> None:
        """Kill processes of the rank that were stopped and are not continued."""
        ours = (self.agent, self.scheduler, self.client, self._launched)
        watched = {one.pid: one for one in ours if one.running and one.pid}
        for pid in self._standing.too_long(set(watched), every):
            watched[pid].why = "it was stopped and not continued"
            if watched[pid] is self.agent:
                # Not its group: the resource tracker in it has /dev/shm to tidy.
                os.kill(pid, signal.SIGKILL)
            else:
                watched[pid].signal(signal.SIGKILL)

    async def leave(self, patience: float) -> None:
        """End all; after *patience* seconds by force."""
        if isinstance(self.client, Process):
            await self.client.stop(0.0)
        await asyncio.gather(
            self.agent.finish(patience, m.Close(0)),
            self.scheduler.stop(patience, ask=m.Finish()),
        )
        # Last, since it removes what we leave if we are killed before we can. As a
        # rank of MPI it waits in MPI_Finalize for the others, and one that is killed
        # there makes theirs fail, and mpiexec as well.
        if patience and self._launch.settings.mpi_tasks:
            patience = max(patience, mpi_world.FINALIZE)
        # It has ended those that were stopped (SIGSTOP), this process as well.
        self._launched.die_in(patience + LAST)
        await self.agent.stop(patience, ask=m.Close(0))
        self._launched.die_in(0)

    def tidy(self) -> None:
        """Remove the rank's directory."""
        if self._place is not None:
            self._place.remove()

    def born(self, forked: m.Forked) -> None:
        """Take note of a process that the agent has forked."""
        self._unborn.discard(forked.name)
        process = self.scheduler if forked.name == "scheduler" else self.client
        assert isinstance(process, Process)  # noqa: S101  we have asked for it
        process.born(forked.pid)


def _material(record: Record) -> dict[str, list[str]]:
    """Return what our own processes are given as text: files could be changed."""
    return {"material": [record.certificate, record.private_key]}


def has_nannies(settings: Settings) -> bool:
    """Say whether nannies of ours look after the workers."""
    # Who is restarted cannot be MPI's rank again.
    return bool(settings.nanny) and not settings.mpi_tasks and not is_fleet(settings)


def _users_stderr() -> int:
    try:
        return os.dup(2)
    except OSError:  # it is closed
        return os.open(os.devnull, os.O_WRONLY)


def _stdin_is_unusable() -> bool:
    # The client is in a background process group: reading from a terminal
    # would stop it (SIGTTIN). An error is better than a program that hangs.
    return sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()
