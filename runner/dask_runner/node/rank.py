"""A rank's top process: from the meeting to the exit status.

It is the launcher's child, or the leader of the node, which plays for it
(:mod:`dask_runner.node.leader`). It is the parent of all other processes of the rank.
It imports no Dask, so it starts within a tenth of a second and stays small. Everything
that happens arrives as an event, ``(source, what)``, and one row of a table handles it.

The module is long, and one class, because all rows depend on the same few facts:
whether the rank has started, is closing, or has a status.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, LostError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.ending import STOP_SECONDS
from dask_runner.hub.report import say
from dask_runner.hub.requeue import SCONTROL_SECONDS
from dask_runner.launch.detect import may_be_outlived
from dask_runner.launch.plan import Role
from dask_runner.launch.signals import FOR_THE_SCRIPT
from dask_runner.meeting.notice import OverError
from dask_runner.node import log_files
from dask_runner.node import messages as n
from dask_runner.node.agent_sharing import AgentSharing
from dask_runner.node.background import Crashed, Tasks
from dask_runner.node.child_ends import ChildEnds
from dask_runner.node.children import Children
from dask_runner.node.connection import lost_hub
from dask_runner.node.contact import Met
from dask_runner.node.early_end import EarlyEnd, Unheard
from dask_runner.node.events import RankState, Source
from dask_runner.node.exits import Ended
from dask_runner.node.find_hub import Broken
from dask_runner.node.instructions import Published
from dask_runner.node.kill_timer import LAST_STEPS_SECONDS
from dask_runner.node.packages import NodePackages
from dask_runner.node.script import Script
from dask_runner.node.system_errors import problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dask_runner.hub.server import Hub
    from dask_runner.launch.launch import Launch
    from dask_runner.meeting.record import Record
    from dask_runner.node.contact import RankContact
    from dask_runner.node.events import Event
    from dask_runner.node.fork_context import ForkContext
    from dask_runner.node.launcher_child import Launched
    from dask_runner.node.script import Client
    from dask_runner.node.shared_agent import AgentProcess
    from dask_runner.node.usage import NodeUsage
    from dask_runner.resources.machine import Snapshot
    from dask_runner.wire.message import Message

#: Seconds within which a repeated signal is the same one: a launcher may signal this
#: process and Apptainer, which forwards the signal.
SAME_SIGNAL_SECONDS = 0.5
#: Why a rank is lost whose follower has ended.
LAUNCHED_GONE = "the process that the launcher started for it is gone"
#: Of a rank that shares nothing with others.
NONE = AgentSharing()
#: Exit statuses from here on mean a signal.
SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Offer:
    """The agent that this rank lends to others, and what its own workers need."""

    agent: AgentProcess
    context: ForkContext


class Rank:
    """The top process of one rank.

    Parameters
    ----------
    launch : Launch
    snapshot : Snapshot
        The machine as the rank sees it.
    contact : RankContact
        The contact with the hub.
    launched : Launched
        The process that the launcher started for the rank.
    sharing : AgentSharing
        Whether the rank lends its agent, or borrows one.
    above : Client, optional
        The user's process, with a runner in Python: the parent of this one.
    events : asyncio.Queue
        Gets all events.

    Attributes
    ----------
    contact : RankContact
    packages : NodePackages
        The packages that the cluster adds to the image's.
    """

    def __init__(
        self,
        launch: Launch,
        snapshot: Snapshot,
        contact: RankContact,
        events: asyncio.Queue[Event],
        launched: Launched,
        sharing: AgentSharing = NONE,
        above: Client | None = None,
    ) -> None:
        self._launch = launch
        self._world = launch.world
        self._settings = launch.settings
        self._roles = launch.plan.roles(launch.world.rank)
        self._events: asyncio.Queue[Event] = events
        self._launched = launched
        self._sharing = sharing
        self._above = above
        self._node = socket.gethostname()
        self._hub: Hub | None = None
        self._launcher = os.getppid()
        self.contact = contact
        self.packages = sharing.packages or NodePackages()
        self._has_packages = bool(launch.settings.packages)
        self._nonce = secrets.token_hex(16)
        self._children = Children(
            launch,
            snapshot,
            events,
            launched,
            sharing,
            above,
            self._published(),
        )
        self._tasks = Tasks(events)
        self._early_end = EarlyEnd(
            launch, self._node, contact, launched, events, self._tasks
        )
        self._script = Script(
            self._children.client, self._node, above=above is not None
        )
        self._child_ends = ChildEnds(self._children, contact, self._node)
        self._prepared = asyncio.Event()
        self._signalled_at: dict[m.Signalled, float] = {}
        self._rows = self._table()
        self._state = RankState.early
        #: Seconds for the rank's processes to end; none before they have started.
        self._patience = 0.0
        self._unfit: RunnerError | None = None
        self._status: int | None = None

    def _published(self) -> Published | None:
        if not self._launch.has_hub:
            return None
        return Published(self._world.key, self._nonce, tuple(self.contact.files))

    async def run(self) -> int:
        """Run the rank until the cluster ends; return its exit status."""
        self._launched.listen(self._events)
        # From its first message on, the agent kills this process if it stays stopped.
        self._launched.die_in(self._settings.timeout + LAST_STEPS_SECONDS)
        try:
            await self._begin()
            while self._status is None:
                source, what = await self._events.get()
                self._handle(source, what)
            if self._hub is not None and self.contact.published:
                self._status = await self._hub.ended()
        except RunnerError as error:
            # This rank has no connection, so the hub may not know of the error.
            self._status = self._early_end.now(error)
        except Exception as error:
            if not self.contact.has_met:
                self._early_end.now(RunnerError(f"{self._name} failed: {error!r}"))
            raise
        finally:
            await self._leave()
        return self._status

    async def requeue(self) -> None:
        """Have the job queued again, if that is why the cluster has ended."""
        if self._hub is not None:
            self._launched.die_in(SCONTROL_SECONDS + LAST_STEPS_SECONDS)
            await self._hub.requeue()
            self._launched.die_in(LAST_STEPS_SECONDS)

    # --- for the ranks that it leads ----------------------------------------

    async def offer(self) -> Offer | None:
        """Return the agent that this rank lends; None if it has none."""
        await self._prepared.wait()
        agent = self._children.lent
        if self._unfit is not None or agent is None:
            return None
        return Offer(agent, self._children.context)

    @property
    def directory(self) -> Path:
        """The rank's private directory, once the rank is prepared."""
        return self._children.directory.path

    def hear(self, message: Message) -> None:
        """Handle a message about another rank of the node that may not have joined."""
        self._events.put_nowait((Source.node, message))

    # --- the beginning ------------------------------------------------------

    async def _begin(self) -> None:
        try:
            await self._children.warm_up()
        except (ConfigError, OSError, RuntimeError) as error:
            # The hub, once connected, prints this error once for all ranks.
            self._unfit = problem(error)
        else:
            self.packages.directory = (
                self.packages.directory or self._children.directory
            )
            if self._has_packages:
                self.packages.prepare()
        self._prepared.set()
        record = None
        if self._launch.has_hub:
            if (notice := self.contact.notices.find()) is not None:
                raise OverError(notice)
            # Only this rank has one, and its agent imports meanwhile.
            from dask_runner.hub.server import Hub  # noqa: PLC0415

            hub = Hub.of(self._launch, self.contact.notices)
            interface = None if self._unfit else self._settings.interface
            record = await hub.open(self._launch, interface, self._nonce)
            self._hub = hub
            self._tasks.start(hub.read(self.contact.notices))
        if self._unfit is None:
            self._tasks.start(self._read_program())
            if self._hub is not None and self._has_packages:
                self._tasks.start(self._resolve(self._hub))
        else:
            self._early_end.give_up_soon(self._unfit)
        self._tasks.start(self._meet(record))
        if self._hub is not None:  # the others wait for the record, and not for this
            self._tasks.start(self._hub.be_named())

    async def _meet(self, record: Record | None) -> None:
        await self._events.put((Source.meeting, await self.contact.meet(record)))

    async def _read_program(self) -> None:
        try:
            await self._children.read_program()
        except RunnerError as error:
            self._cannot(error)

    async def _resolve(self, hub: Hub) -> None:
        added = hub.cluster.shared.packages
        try:
            built = await self.packages.build(self._settings, added.resolving)
        except (RunnerError, OSError, RuntimeError) as error:
            self._cannot(problem(error))
        else:
            archive = m.Packages(built.path, built.key)
            added.found(archive, built.number, built.seconds)

    def _cannot(self, error: RunnerError) -> None:
        # As above; this happens before the ranks have met, or after.
        self._unfit = self._unfit or error
        self.contact.fail(error)
        self._early_end.give_up_soon(self._unfit)

    # --- events -------------------------------------------------------------

    def _handle(self, source: str, what: object) -> None:
        event = source, type(what)
        late = self._closing and event in self._LATE
        if event in self._rows and not late:
            status = self._rows[event](what)
            self._status = self._status if status is None else status

    def _on_met(self, met: Met) -> None:
        self.contact.found(met)
        self.contact.join(self._children.hello(), self._events, self._look_around)
        self._launched.joined()
        above = self._above.pid if self._above is not None else 0
        met.connection.usage.watch(os.getpid(), self._launched.pid, above)
        self._tell_of_the_join(
            f"joined the cluster {self._launch.joins} on {met.record.node} as "
            f"{met.join}"
        )
        if not self._children.agent.running:
            self._launched.die_in(0)
        for service in self.contact.services():
            self._tasks.start(service)
        if self._unfit is not None:
            self.contact.fail(self._unfit)
            return
        try:
            self._children.found(met.record)
        except (ConfigError, OSError) as error:
            self._say_unfit(error)
            return
        if not self._has_packages:
            self._schedule("")

    def _on_packages(self, archive: m.Packages) -> None:
        if self._unfit is not None:
            return
        self.packages.begin(archive)
        if self._has_packages and Role.scheduler in self._roles:
            self._tasks.start(self._schedule_with_packages())

    async def _schedule_with_packages(self) -> None:
        if (packages := await self._packages_here()) is not None:
            self._schedule(packages)

    def _schedule(self, packages: str) -> None:
        """Have the scheduler begin, if it is here."""
        met = self.contact.met
        try:
            self._children.schedule(met.record, met.connection.host, packages)
        except (ConfigError, OSError) as error:
            self._say_unfit(error)

    def _say_unfit(self, error: Exception) -> None:
        self.contact.fail(problem(error, str(self._children.directory.path)))

    async def _packages_here(self) -> str | None:
        """Wait for the packages; return None, and report it, if they cannot be used."""
        try:
            return await self.packages.there()
        except (RunnerError, OSError, RuntimeError) as error:
            self._say_unfit(error)
            return None

    def _on_crashed(self, crashed: Crashed) -> None:
        raise crashed.error

    @property
    def _name(self) -> str:
        return f"rank {self._world.rank} on {self._node}"

    def _on_start(self, start: m.Start) -> None:
        self._patience = STOP_SECONDS / 2
        if not self._closing:
            self._state = RankState.working
        share = self._children.share(start)
        self._usage.has(self._world.rank, share)
        if Role.scheduler in self._roles:
            given = share.given
            self.contact.say(m.Given(given.value, given.source, share.taken_memory))
        if self._hub is not None:
            self._tasks.start(self.contact.add_address(start.address))
        if Role.worker in self._roles:
            self._tasks.start(self._work(start))

    @property
    def _usage(self) -> NodeUsage:
        return self.contact.met.connection.usage

    def _on_workers_run(self, message: n.WorkersRun) -> None:
        self._usage.workers_run(message)

    def _on_worker_had(self, message: n.WorkerHad) -> None:
        self._usage.worker_had(message)

    def _on_waits(self, message: m.Waits) -> None:
        del message
        self._state = RankState.spare

    async def _work(self, start: m.Start) -> None:
        contact = self.contact
        try:
            host = contact.met.connection.host
            packages = await self.packages.there()
            warnings = await self._children.work(
                start, contact.met.record, host, contact.met.join, packages
            )
        except (RunnerError, OSError, RuntimeError) as error:
            contact.fail(problem(error, str(self._children.directory.path)))
            return
        for warning in warnings:
            contact.say(m.Note(warning))

    def _on_ask_lines(self, message: m.AskLines) -> None:
        self._tasks.start(self._read_logs(message))

    async def _read_logs(self, message: m.AskLines) -> None:
        try:
            self.contact.say(await log_files.answer(message, self._children.logs))
        except RuntimeError:  # the system refuses a thread
            self.contact.say(m.Lines(message.number, [], more=False))

    def _on_ready(self, ready: m.Ready) -> None:
        self._script.is_due = True
        self._tasks.start(self._begin_script(ready))

    async def _begin_script(self, ready: m.Ready) -> None:
        await self._children.knows_its_program.wait()
        if self._closing:
            return
        record = self.contact.met.record
        certificate, key = record.for_dask
        own = replace(
            ready, certificate=certificate, private_key=key, nonce=record.nonce
        )
        if (packages := await self._packages_here()) is not None:
            self._script.begin(replace(own, packages=packages))

    def _for_the_script(self, message: m.Signalled) -> None:
        if (ended := self._script.signalled(message.number)) is not None:
            self.contact.say(ended)

    def _on_client_ended(self, ended: Ended) -> None:
        self.contact.say(self._script.ended(ended, awaited=self._closing))

    def _on_agent_lives(self, message: m.Ping) -> None:
        del message
        self._launched.die_in(0)

    def _on_agent_ended(self, ended: Ended) -> None:
        self._launched.die_in(0)
        self._child_ends.agent_ended(ended)

    def _on_signal(self, message: m.Signalled) -> int | None:
        now = time.monotonic()
        last = self._signalled_at.get(message, now - SAME_SIGNAL_SECONDS)
        if now - last < SAME_SIGNAL_SECONDS:
            return None
        self._signalled_at[message] = now
        if not self.contact.has_met:
            if message.number in FOR_THE_SCRIPT:
                return None
            return self._early_end.by_signal(message, self._hub)
        if message.rank < 0:
            self.contact.say(message)
        else:
            self.contact.report_another(message)
        return None

    def _on_broken(self, broken: Broken) -> int | None:
        return self._early_end.without_hub(broken.error, self._unfit, self._hub)

    # --- the cluster's end, and losses --------------------------------------

    def _on_close(self, message: m.Close) -> None:
        self._state = RankState.closing
        self._tasks.start(self._stop(message.status))

    async def _stop(self, status: int) -> None:
        ends = [self._children.agent.finish(self._patience, m.Close(0))]
        if Role.client in self._roles:
            ends.append(self._script.stop(status, self._settings.grace))
        await asyncio.gather(*ends)
        self.contact.bye()

    @property
    def _closing(self) -> bool:
        return self._state is RankState.closing

    def _on_finish(self, message: m.Finish) -> int:
        self._tell_of_the_join(f"left the cluster: {message.why}")
        return message.status

    def _tell_of_the_join(self, text: str) -> None:
        """Print a line if this is the first rank of a join."""
        first = self._launch.joins and not self._world.rank
        if first and not self._settings.quiet:
            say(text)

    def _on_dismissed(self, message: m.Dismiss) -> int:
        if message.prints:
            say(f"error: {RunnerError(message.saw, message.needed, message.do)}")
        return message.status

    def _on_refused(self, refused: m.Refused) -> int:
        """End the rank; the hub has printed the reason."""
        del refused
        return LostError.status

    def _on_link_gone(self, ended: Ended) -> int:
        del ended
        takes_over = self.contact.inherit()
        if self._closing:
            return 0
        if takes_over and self._state is RankState.early:
            self._early_end.without_rank_0()
        # One line for each node; rank 1 prints it too, as it may be on rank 0's node.
        beside_the_hub = self._world.rank == 1 and not self._launch.joins
        if self._world.local_rank in (0, None) or beside_the_hub:
            hub = f"rank 0 on {self.contact.met.record.node}"
            say(f"error: {lost_hub(self._world.rank, self._node, hub)}")
        return LostError.status

    def _on_launched_gone(self, ended: Ended) -> int:
        """Report this rank as lost: its follower has died."""
        del ended
        self.contact.lose(LAUNCHED_GONE)
        return LostError.status

    def _on_above_gone(self, ended: Ended) -> int | None:
        """End the rank, because the user's process has ended."""
        del ended
        if not self.contact.has_met:
            error = LostError(
                f"the script of {self._name} ended before the ranks had met",
                "a script that comes to its cluster in all ranks",
                "look for what it says itself above",
            )
            return self._early_end.now(error)
        if Role.client in self._roles:
            self.contact.say(self._script.vanished())
            return None
        return None if self._closing else LostError.status

    def _table(self) -> Mapping[tuple[str, type], Callable[[Any], int | None]]:
        """Return what handles each event, and returns the status if the rank ends."""
        say = self.contact.say
        return {
            (Source.task, Crashed): self._on_crashed,
            (Source.meeting, Met): self._on_met,
            (Source.meeting, Broken): self._on_broken,
            (Source.link, m.Packages): self._on_packages,
            (Source.link, m.Start): self._on_start,
            (Source.link, m.Waits): self._on_waits,
            (Source.link, m.Complete): self._children.scheduler.send,
            (Source.link, m.WorkersLost): self._children.scheduler.send,
            (Source.link, m.AskActivity): self._children.scheduler.send,
            (Source.link, m.AskWork): self._children.scheduler.send,
            (Source.link, m.Retire): self._children.scheduler.send,
            (Source.link, m.RetireAll): self._children.scheduler.send,
            (Source.link, m.StartWorkers): self._children.start_workers,
            (Source.link, m.AskLines): self._on_ask_lines,
            (Source.link, m.Ready): self._on_ready,
            (Source.link, m.Signalled): self._for_the_script,
            (Source.link, m.Close): self._on_close,
            (Source.link, m.Finish): self._on_finish,
            (Source.link, m.Refused): self._on_refused,
            (Source.link, m.Dismiss): self._on_dismissed,
            (Source.link, Ended): self._on_link_gone,
            (Source.client, Ended): self._on_client_ended,
            (Source.above, m.ClientEnded): say,
            (Source.above, Ended): self._on_above_gone,
            (Source.scheduler, m.SchedulerUp): say,
            (Source.scheduler, m.SchedulerClosed): self._child_ends.scheduler_closed,
            (Source.scheduler, m.Activity): say,
            (Source.scheduler, m.Work): say,
            (Source.scheduler, m.Staying): say,
            (Source.scheduler, m.Note): say,
            (Source.scheduler, m.Failed): say,
            (Source.scheduler, Ended): self._child_ends.scheduler_ended,
            (Source.agent, m.Ping): self._on_agent_lives,
            (Source.agent, n.Forked): self._children.note_forked,
            (Source.agent, n.WorkersRun): self._on_workers_run,
            (Source.agent, n.WorkerHad): self._on_worker_had,
            (Source.agent, m.WorkersUp): say,
            (Source.agent, m.WorkerDied): say,
            (Source.agent, m.WorkerDown): say,
            (Source.agent, m.WorkerBack): say,
            (Source.agent, m.WorkerLeft): say,
            (Source.agent, m.WorkerUp): say,
            (Source.agent, m.WorkerNotUp): say,
            (Source.agent, m.Note): say,
            (Source.agent, m.Failed): self._child_ends.agent_failed,
            (Source.agent, m.AgentGone): self._child_ends.lent_agent_gone,
            (Source.agent, Ended): self._on_agent_ended,
            (Source.carrier, Ended): self._child_ends.carrier_ended,
            (Source.launched, m.Signalled): self._on_signal,
            (Source.launched, Ended): self._on_launched_gone,
            (Source.node, m.Absent): self._early_end.of_another,
            (Source.node, m.Signalled): self._on_signal,
            (Source.early_end, Unheard): self._early_end.unheard,
            (Source.leader, n.Leads): self._early_end.has_leader,
            (Source.leader, m.Close): self._early_end.with_leader,
            (Source.leader, Ended): self._early_end.without_leader,
        }

    #: Events that are ignored once the rank is closing.
    _LATE = frozenset(
        {
            (Source.link, m.Ready),
            (Source.link, m.Close),
            (Source.scheduler, Ended),
            (Source.agent, m.AgentGone),
            (Source.agent, Ended),
            (Source.carrier, Ended),
            (Source.launched, Ended),
            (Source.leader, m.Close),
            (Source.leader, Ended),
        }
    )

    def _look_around(self, every: float) -> None:
        """Kill stopped processes; end as by SIGTERM if the launcher has died."""
        self._children.kill_stopped(every)
        if os.getppid() != self._launcher:
            self._launcher = os.getppid()
            if self._above is None and may_be_outlived(self._world.launcher):
                self._events.put_nowait((Source.launched, m.Signalled(signal.SIGTERM)))

    # --- the end ------------------------------------------------------------

    def _say_what_nobody_heard(self) -> None:
        # If a signal ends all ranks, that is the cause.
        if self._status is None or self._status < SIGNALLED:
            for absent in self.contact.absent:
                say(f"error: {absent.on(self._node)}")

    async def _leave(self) -> None:
        """End and remove everything of this rank, whatever happened before."""
        self._state = RankState.closing
        await self._tasks.cancel()
        if self._sharing.packages is None:
            await self.packages.end()
        if self._hub is not None:
            self._early_end.leave_behind(self._hub.cluster)
            self._hub.withdraw()
        # This comes early, because mpiexec may kill this process before its end.
        self.contact.withdraw()
        self._say_what_nobody_heard()
        await self._children.leave(self._patience)
        if not self._patience:
            # Nobody would remove it if this process is killed while it waits for the
            # others. Nothing has been spilled yet.
            self._children.tidy()
        await self.contact.finished()
        self._launched.end_children()
        await self._children.carried()
        await self.contact.closed()
        if self._hub is not None:
            await self._hub.close()
        # Removing spilled data may take a disk a long time.
        self._launched.die_in(0)
        self._children.tidy()
        self._launched.die_in(LAST_STEPS_SECONDS)
        if self._status == LostError.status and not self._patience:
            # A rank that did not find the hub in time may have left a notice of that.
            self.contact.notices.sign([self._world.rank])
        await self._early_end.over()
