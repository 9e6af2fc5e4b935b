"""A rank's top process: from the meeting to the exit status.

It is the launcher's child, or the leader of the node that plays the part for it
(:mod:`dask_runner.node.leader`), and the parent of everything else on this rank. It
imports no Dask, so that it is there within a tenth of a second and stays small.
All that happens comes to it as an event, ``(source, what)``, and is handled by
one row of a table.

It is longer than a module should be, and one class because what the rows do depends on
the same few facts: whether the rank has started, is closing, or has a status.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dask_runner.errors import AssemblyError, ConfigError, LostError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.ending import PASSED_ON, STOP
from dask_runner.hub.losses import never_came
from dask_runner.hub.report import say
from dask_runner.hub.service import Headquarters
from dask_runner.launch.detect import may_be_outlived
from dask_runner.launch.plan import Role
from dask_runner.launch.slurm import ranks_here
from dask_runner.meeting.words import OverError
from dask_runner.node.background import Crashed, Tasks
from dask_runner.node.causes import problem
from dask_runner.node.children import Crew
from dask_runner.node.contact import Contact
from dask_runner.node.exits import Ended
from dask_runner.node.find_hub import Broken, Linked
from dask_runner.node.orphans import LAST
from dask_runner.node.parting import Parting, Unheard
from dask_runner.node.script import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dask_runner.launch.launch import Launch
    from dask_runner.meeting.record import Meeting, Record
    from dask_runner.meeting.words import Words
    from dask_runner.node.agent_socket import Place
    from dask_runner.node.launcher_child import Launched
    from dask_runner.node.script import Client

#: Seconds within which a signal that comes again is the same one: a launcher may
#: signal Apptainer, which passes it on, and us as well.
SAME_SIGNAL = 0.5
#: Exit statuses from here on are those of signals.
SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Substitute:
    """The name of the node's agent, and the place that its workers have."""

    home: str
    place: Place


class Rank:
    """The top process of one rank.

    Parameters
    ----------
    launch : Launch
    meeting : Meeting
    launched : Launched
        The process that the launcher started for the rank.
    above : Client, optional
        The process that holds the client or waits for the end, where it is not
        ours to start (the library's way in).
    events : asyncio.Queue
        Where all that happens arrives.
    """

    def __init__(
        self,
        launch: Launch,
        meeting: Meeting,
        events: asyncio.Queue[Any],
        launched: Launched,
        above: Client | None = None,
    ) -> None:
        self._launch = launch
        self._world = launch.world
        self._settings = launch.settings
        self._roles = launch.plan.roles(launch.world.rank)
        self._events: asyncio.Queue[tuple[str, Any]] = events
        self._launched = launched
        self._above = above
        self._node = socket.gethostname()
        self._headquarters: Headquarters | None = None
        self._launcher = os.getppid()
        self._crew = Crew(launch, events, launched, above)
        self._contact = Contact(launch, meeting, self._node, events)
        self._parting = Parting(launch, self._node, self._contact, launched, events)
        self._script = Script(self._crew.client, self._node, above=above is not None)
        self._tasks = Tasks(events)
        self._prepared = asyncio.Event()
        self._signalled_at: dict[m.Signalled, float] = {}
        self._leader = -1
        self._scheduler_closed = False
        self._started = False
        self._closing = False
        self._agent_failed = False
        self._waits_to_begin = False
        self._unfit: RunnerError | None = None
        self._status: int | None = None

    async def run(self) -> int:
        """Live through the whole cluster; return this rank's exit status."""
        self._launched.listen(self._events)
        # Until the agent lives, which ends this process where it stands still.
        self._launched.die_in(self._settings.timeout + LAST)
        try:
            await self._begin()
            while self._status is None:
                source, what = await self._events.get()
                self._handle(source, what)
            if self._headquarters is not None and self._contact.published:
                self._status = await self._headquarters.ended()
        except RunnerError as error:
            # Nobody else may know of it: this rank has no link to say it over.
            self._status = self._parting.now(error)
        except Exception as error:
            if self._contact.link is None:
                self._parting.now(RunnerError(f"{self._name} failed: {error!r}"))
            raise
        finally:
            await self._leave()
        return self._status

    # --- what followers are played by ----------------------------------------

    async def stands_in(self) -> Substitute | None:
        """Return what this rank offers to others of its node, once it is prepared."""
        await self._prepared.wait()
        if self._unfit is not None or not self._crew.leads:
            return None
        return Substitute(self._crew.home, self._crew.own_place)

    @property
    def directory(self) -> Path:
        """The rank's own, once it is prepared."""
        return self._crew.place.path

    async def record(self) -> Record:
        """Return the record, once this rank has met the hub.

        Raises
        ------
        RunnerError
            If it has not, and will not.
        """
        return await self._contact.made()

    @property
    def has_met(self) -> bool:
        """Whether the hub knows it."""
        return self._contact.link is not None

    @property
    def words(self) -> Words:
        """Where its node leaves words."""
        return self._contact.words

    @property
    def waits_for(self) -> str:
        """What keeps it from meeting the hub."""
        return self._contact.trouble

    def hear(self, message: m.Message) -> None:
        """Be told of another rank of the node, which the hub may not know."""
        self._events.put_nowait(("node", message))

    # --- the beginning ------------------------------------------------------

    async def _begin(self) -> None:
        try:
            await self._crew.warm_up()
        except (ConfigError, OSError, RuntimeError) as error:
            # To be said over the link, where it is said once for all ranks.
            self._unfit = problem(error)
        self._prepared.set()
        if self._world.rank == 0:
            if (word := self.words.find()) is not None:
                raise OverError(word)
            headquarters = Headquarters(self._launch, self.words)
            interface = None if self._unfit else self._settings.interface
            self._contact.record = await headquarters.open(interface)
            self._headquarters = headquarters
            self._tasks.start(headquarters.read())
        if self._unfit is None:
            self._tasks.start(self._read_program())
        else:
            self._give_up_soon(self._unfit)
        self._tasks.start(self._contact.meet())

    async def _read_program(self) -> None:
        try:
            await self._crew.read_program()
        except RunnerError as error:
            # As above; it may come when the ranks have met, or before.
            self._unfit = self._unfit or error
            self._contact.fail(error)
            self._give_up_soon(self._unfit)

    def _give_up_soon(self, error: RunnerError) -> None:
        """Tell those that do not meet, if the hub is not there to do so."""
        rank = self._world.rank
        if rank and self.words.possible and self._parting.is_missed(rank):
            self._tasks.start(self._parting.soon(error, rank))

    # --- events -------------------------------------------------------------

    def _handle(self, source: str, what: object) -> None:
        event = source, type(what)
        if event in self._TABLE and not (self._closing and event in self._LATE):
            self._TABLE[event](self, what)

    def _on_linked(self, found: Linked) -> None:
        link = self._contact.linked(found)
        link.say(self._crew.hello(self._node))
        self._launched.joined()
        if not self._crew.agent.running:
            self._launched.die_in(0)
        self._contact.catch_up()
        self._tasks.start(link.listen())
        self._tasks.start(link.beat(self._look_around))
        if self._unfit is not None:
            link.fail(self._unfit)
            return
        try:
            self._crew.found(found.record, link.host, self._contact.files)
        except (ConfigError, OSError) as error:
            link.fail(problem(error, str(self._crew.place.path)))

    def _on_crashed(self, crashed: Crashed) -> None:
        raise crashed.error

    def _on_broken(self, broken: Broken) -> None:
        error = self._unfit or broken.error
        if self._contact.link is not None:
            return  # it has been found after all
        if error is self._unfit or isinstance(error, OverError):
            self._status = self._parting.now(error)
            return
        self._contact.broken(error)
        # All else is seen by rank 0 as well, which says it.
        self._status = error.status
        if error.said:
            return  # the leader's own, who plays for this rank
        error.said = True
        if self._headquarters is not None:
            self._headquarters.fail(error)
        elif isinstance(error, AssemblyError) and self._speaks:
            say(f"error: {error}")
        elif isinstance(error, LostError) and self._world.local_rank in (0, None):
            # Seen by this node alone: what the launcher has here is gone.
            say(f"error: {error}")

    @property
    def _name(self) -> str:
        return f"rank {self._world.rank} on {self._node}"

    @property
    def _speaks(self) -> bool:
        # All ranks but 0 miss rank 0 alike, so one of them says it; a rank that
        # found a record and cannot reach its hub has more to say.
        return self._world.rank == 1 or "that does not answer" in self._contact.trouble

    def _on_start(self, start: m.Start) -> None:
        self._started = True
        if self._headquarters is not None:
            self._tasks.start(self._contact.add_address(start.address))
        if Role.worker in self._roles:
            self._tasks.start(self._work(start))

    async def _work(self, start: m.Start) -> None:
        contact = self._contact
        try:
            warnings = await self._crew.work(start, contact.known, contact.host)
        except (RunnerError, OSError, RuntimeError) as error:
            contact.fail(problem(error, str(self._crew.place.path)))
            return
        for warning in warnings:
            contact.say(m.Note(warning))

    def _for_the_scheduler(self, message: m.Complete | m.WorkersLost) -> None:
        self._crew.scheduler.send(message)

    def _on_ready(self, ready: m.Ready) -> None:
        self._waits_to_begin = True
        self._tasks.start(self._begin_script(ready))

    async def _begin_script(self, ready: m.Ready) -> None:
        await self._crew.knows_its_program.wait()
        if self._closing:
            return
        self._waits_to_begin = False
        record = self._contact.known
        self._script.begin(
            replace(
                ready,
                certificate=record.certificate,
                private_key=record.private_key,
            )
        )

    def _for_the_script(self, message: m.Signalled) -> None:
        self._script.signalled(message.number)
        if self._waits_to_begin and message.number not in PASSED_ON:
            self._contact.say(m.ClientEnded(128 + message.number, ""))

    def _on_client_ended(self, ended: Ended) -> None:
        self._contact.say(self._script.ended(ended, awaited=self._closing))

    def _for_the_hub(self, message: m.Message) -> None:
        self._contact.say(message)

    def _on_scheduler_closed(self, message: m.SchedulerClosed) -> None:
        self._scheduler_closed = True
        self._contact.say(message)

    def _on_scheduler_ended(self, ended: Ended) -> None:
        if self._scheduler_closed:
            return
        tail = self._crew.place.tail("scheduler")
        self._contact.fail(
            LostError(
                f"the scheduler on {self._node} {ended}{tail}",
                "a scheduler for as long as the script runs",
                "give rank 0 more memory, if it was killed for that, and keep large "
                "results on the workers (persist, not compute)",
            )
        )

    def _on_agent_lives(self, message: m.Ping) -> None:
        del message
        self._launched.die_in(0)

    def _on_forked(self, message: m.Forked) -> None:
        self._crew.born(message)

    def _on_declined(self, message: m.Declined) -> None:
        del message
        self._crew.agent.disown()
        self._tasks.start(self._crew.work_alone())

    def _on_agent_failed(self, message: m.Failed) -> None:
        self._agent_failed = True
        self._contact.say(message)
        # It may wait with its end until this is heard.
        self._crew.agent.send(m.Ping())

    def _on_agent_ended(self, ended: Ended) -> None:
        self._launched.die_in(0)
        # One that serves nobody has forked what was to be forked.
        if self._scheduler_closed or self._agent_failed:
            return
        how = f"{ended}{self._crew.place.tail('agent')}"
        if self._crew.unborn:
            self._contact.fail(
                LostError(
                    f"its node agent {how}",
                    f"an agent that starts the {self._crew.unborn}",
                    "look for what ended it: the node's memory, another program",
                )
            )
        elif self._crew.serves:
            self._contact.say(m.AgentGone(how, own=self._crew.has_own_agent))

    def _on_signal(self, message: m.Signalled) -> None:
        now = time.monotonic()
        last = self._signalled_at.get(message, now - SAME_SIGNAL)
        if now - last < SAME_SIGNAL:
            return
        self._signalled_at[message] = now
        if self._contact.link is not None:
            self._contact.say(message)
        elif message.number not in PASSED_ON:
            self._signalled(message)

    def _signalled(self, message: m.Signalled) -> None:
        """End by a signal that nobody can be told over the hub."""
        error = self._parting.signalled(message)
        rank = message.rank if message.rank >= 0 else self._world.rank
        if self._headquarters is not None and self._contact.published:
            self._headquarters.signalled(error, rank)
            self._status = error.status
        elif rank == self._world.rank and self._launched.signalled(message.number):
            self._status = error.status  # the leader tells the others
        elif self._contact.is_near:
            said = m.Signalled(message.number, rank)
            self._tasks.start(self._parting.soon(error, rank, said))
        else:
            self._status = self._parting.now(error, rank)

    def _on_unheard(self, unheard: Unheard) -> None:
        if self._contact.link is None:
            self._status = self._parting.now(unheard.error, unheard.rank)

    # --- the other ranks of the node ------------------------------------------

    def _on_absent(self, message: m.Absent) -> None:
        self._contact.say(message)
        rank = message.rank
        tells = self.words.possible and rank >= 0 and self._parting.is_missed(rank)
        if tells and self._contact.link is None:
            error = never_came(message, self._node, self._world.size)
            self._tasks.start(self._parting.soon(error, rank))

    def _on_leads(self, message: m.Leads) -> None:
        self._leader = message.rank

    def _on_leader_ends(self, message: m.Close) -> None:
        if self._contact.link is None:
            # It knows the cluster's end, or has said why it has none.
            self.words.sign([self._world.rank])
            self._status = message.status

    def _on_leader_gone(self, ended: Ended) -> None:
        """Tell of a leader that has died, if it never joined."""
        del ended
        world = self._world
        here = ranks_here(self._launch.environ) if world.launcher == "slurm" else ()
        # Ranks of a node are in order, so that is where rank 0 is as well.
        if self._leader < 0 and world.rank == world.local_rank:
            self._leader = 0
        if self._leader < 0 and here:
            self._leader = here[0]
        if self._leader or self._contact.link is not None:
            self._on_absent(m.Absent(self._leader, "died before it joined"))
            return
        error = AssemblyError(
            f"rank 0 on {self._node} died before the ranks had met",
            f"all {world.size} ranks",
            "look above, and in the accounting of the launcher, for what ended it",
        )
        if self.words.possible or world.local_rank == 1:
            self._parting.now(error, 0)
            # They know by themselves, and whom it has played is gone.
            self.words.sign(here)
        self._status = error.status

    def _on_close(self, message: m.Close) -> None:
        self._closing = True
        self._tasks.start(self._stop(message.status))

    async def _stop(self, status: int) -> None:
        ends = [self._crew.agent.finish(self._patience, m.Close(0))]
        if Role.client in self._roles:
            ends.append(self._script.stop(status, self._settings.grace))
        await asyncio.gather(*ends)
        self._contact.say(m.Bye())

    @property
    def _patience(self) -> float:
        """Seconds for our processes to end in order; none before they have begun."""
        return STOP / 2 if self._started else 0.0

    def _on_finish(self, message: m.Finish) -> None:
        del message
        self._status = 0

    def _on_link_gone(self, ended: Ended) -> None:
        del ended
        self._contact.inherit()
        if self._closing:
            self._status = 0
            return
        # One for each node; and one where rank 0 had the node to itself and us.
        if self._world.local_rank in (0, None) or self._world.rank == 1:
            say(
                f"error: rank {self._world.rank} on {self._node} lost the hub (rank 0 "
                f"on {self._contact.known.node})"
            )
        self._status = LostError.status

    def _on_launched_gone(self, ended: Ended) -> None:
        """Be lost for the hub when the follower is lost that we play for."""
        del ended
        self._contact.close()
        self._status = LostError.status

    def _on_above_gone(self, ended: Ended) -> None:
        """Leave when the process above is gone: the launcher's rank is."""
        del ended
        if self._contact.link is None:
            error = LostError(
                f"the script of {self._name} ended before the ranks had met",
                "a script that comes to its cluster in all ranks",
                "look for what it says itself above",
            )
            self._status = self._parting.now(error)
        elif Role.client in self._roles:
            self._contact.say(self._script.vanished())
        elif not self._closing:
            self._status = LostError.status

    _TABLE: Mapping[tuple[str, type], Callable[[Rank, Any], None]] = {
        ("task", Crashed): _on_crashed,
        ("meeting", Linked): _on_linked,
        ("meeting", Broken): _on_broken,
        ("link", m.Start): _on_start,
        ("link", m.Complete): _for_the_scheduler,
        ("link", m.WorkersLost): _for_the_scheduler,
        ("link", m.Ready): _on_ready,
        ("link", m.Signalled): _for_the_script,
        ("link", m.Close): _on_close,
        ("link", m.Finish): _on_finish,
        ("link", Ended): _on_link_gone,
        ("client", Ended): _on_client_ended,
        ("above", m.ClientEnded): _for_the_hub,
        ("above", Ended): _on_above_gone,
        ("scheduler", m.SchedulerUp): _for_the_hub,
        ("scheduler", m.SchedulerClosed): _on_scheduler_closed,
        ("scheduler", m.Failed): _for_the_hub,
        ("scheduler", Ended): _on_scheduler_ended,
        ("agent", m.Ping): _on_agent_lives,
        ("agent", m.Forked): _on_forked,
        ("agent", m.Declined): _on_declined,
        ("agent", m.WorkersUp): _for_the_hub,
        ("agent", m.WorkerDied): _for_the_hub,
        ("agent", m.WorkerDown): _for_the_hub,
        ("agent", m.WorkerBack): _for_the_hub,
        ("agent", m.WorkerLeft): _for_the_hub,
        ("agent", m.Note): _for_the_hub,
        ("agent", m.Failed): _on_agent_failed,
        ("agent", Ended): _on_agent_ended,
        ("launched", m.Signalled): _on_signal,
        ("launched", Ended): _on_launched_gone,
        ("node", m.Absent): _on_absent,
        ("node", m.Signalled): _on_signal,
        ("parting", Unheard): _on_unheard,
        ("leader", m.Leads): _on_leads,
        ("leader", m.Close): _on_leader_ends,
        ("leader", Ended): _on_leader_gone,
    }

    #: What is no news any more once the rank is closing.
    _LATE = frozenset(
        {
            ("link", m.Ready),
            ("link", m.Close),
            ("scheduler", Ended),
            ("agent", Ended),
            ("launched", Ended),
            ("leader", m.Close),
            ("leader", Ended),
        }
    )

    def _look_around(self, every: float) -> None:
        """End what stands still on this rank; end as by SIGTERM without a launcher."""
        self._crew.end_the_standing(every)
        if os.getppid() != self._launcher:
            self._launcher = os.getppid()
            if self._above is None and may_be_outlived(self._world.launcher):
                self._on_signal(m.Signalled(signal.SIGTERM))

    # --- the end ------------------------------------------------------------

    def _say_what_nobody_heard(self) -> None:
        # A signal that ends us all is cause enough.
        if self._status is None or self._status < SIGNALLED:
            for absent in self._contact.absent:
                say(f"error: {absent.on(self._node)}")

    async def _leave(self) -> None:
        """Leave nothing behind, whatever happened before."""
        self._closing = True
        await self._tasks.cancel()
        if self._headquarters is not None:
            self._parting.leave_behind(self._headquarters)
        # Early: mpiexec may kill us before we are done.
        self._contact.withdraw()
        self._say_what_nobody_heard()
        await self._crew.leave(self._patience)
        await self._contact.settle()
        self._launched.settle()
        await self._contact.closed()
        if self._headquarters is not None:
            await self._headquarters.shut()
        # A disk may take its time over what was spilled.
        self._launched.die_in(0)
        self._crew.tidy()
        self._launched.die_in(LAST)
        if self._status == LostError.status and not self._started:
            # Of a hub that is lost while they meet, those who did not find it in time
            # leave a word to others.
            self.words.sign([self._world.rank])
        await self._parting.over()
