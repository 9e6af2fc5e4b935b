"""A rank's top process: from the rendezvous to the exit status.

It is the launcher's child, or the leader of the node that plays the part for it
(:mod:`dask_runner.hosting`), and the parent of everything else on this rank. It
imports no Dask, so that it is there within a tenth of a second and stays small.
All that happens comes to it as an event, ``(source, what)``, and is handled by
one row of a table.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dask_runner import join
from dask_runner import messages as m
from dask_runner.crew import Crew
from dask_runner.deaths import Ended
from dask_runner.ending import PASSED_ON, STOP
from dask_runner.errors import AssemblyError, ConfigError, LostError, RunnerError
from dask_runner.headquarters import Headquarters
from dask_runner.join import Broken, Linked
from dask_runner.launchers import may_be_outlived
from dask_runner.rendezvous import with_address
from dask_runner.report import say
from dask_runner.roles import Role
from dask_runner.uplink import Uplink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.crew import Client
    from dask_runner.launch import Launch
    from dask_runner.launched import Launched
    from dask_runner.node import Place
    from dask_runner.rendezvous import Meeting, Record

#: Seconds within which a signal that comes again is the same one: a launcher may
#: signal Apptainer, which passes it on, and us as well.
SAME_SIGNAL = 0.5


@dataclass(frozen=True, slots=True)
class Crashed:
    """A task of ours has failed, by a mistake of ours."""

    error: BaseException


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
        self._meeting = meeting
        self._events: asyncio.Queue[tuple[str, Any]] = events
        self._launched = launched
        self._above = above
        self._node = socket.gethostname()
        self._headquarters: Headquarters | None = None
        self._record: Record | None = None
        self._link: Uplink | None = None
        self._launcher = os.getppid()
        self._crew = Crew(launch, events, launched, above)
        self._prepared = asyncio.Event()
        self._met = asyncio.Event()
        self._broken: RunnerError | None = None
        self._client_told = False
        self._client_signal = 0
        self._signalled_at: dict[int, float] = {}
        self._scheduler_closed = False
        self._started = False
        self._closing = False
        self._unfit: ConfigError | None = None
        self._status: int | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        """Live through the whole cluster; return this rank's exit status."""
        self._launched.listen(self._events)
        try:
            await self._begin()
            while self._status is None:
                source, what = await self._events.get()
                self._handle(source, what)
            if self._headquarters is not None and self._link is not None:
                self._status = await self._headquarters.ended()
        except RunnerError as error:
            # Nobody else may know of it: this rank has no link to say it over.
            say(f"error: {error}")
            self._status = error.status
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

    async def record(self) -> Record:
        """Return the record, once this rank has met the hub.

        Raises
        ------
        RunnerError
            If it has not, and will not.
        """
        await self._met.wait()
        if self._record is None or self._broken is not None:
            raise self._broken or AssertionError("met without a record")
        return self._record

    @property
    def waits_for(self) -> str:
        """What keeps it from meeting the hub."""
        return self._meeting.trouble

    # --- the beginning ------------------------------------------------------

    async def _begin(self) -> None:
        try:
            await self._crew.warm_up()
        except ConfigError as error:
            # To be said over the link, where it is said once for all ranks.
            self._unfit = error
        self._prepared.set()
        if self._world.rank == 0:
            headquarters = Headquarters(self._launch)
            interface = None if self._unfit else self._settings.interface
            self._record = await headquarters.open(interface)
            self._headquarters = headquarters
        self._later(self._meet())

    async def _meet(self) -> None:
        if self._record is not None:
            found = await join.publish(self._record, self._meeting)
        else:
            found = await join.find(
                self._world.rank, self._node, self._meeting, self._settings.timeout
            )
        await self._events.put(("rendezvous", found))

    # --- events -------------------------------------------------------------

    def _handle(self, source: str, what: object) -> None:
        handler = self._TABLE.get((source, type(what)))
        if handler is not None:
            handler(self, what)

    def _on_linked(self, found: Linked) -> None:
        link = Uplink(found.channel, self._events, self._settings.silence)
        self._record, self._link = found.record, link
        self._met.set()
        link.say(self._crew.hello(self._node))
        self._later(link.listen())
        self._later(link.beat(self._look_around))
        if self._unfit is not None:
            link.fail(self._unfit)
            return
        self._crew.found(found.record, link.host, self._meeting.files)

    def _on_crashed(self, crashed: Crashed) -> None:
        raise crashed.error

    def _on_broken(self, broken: Broken) -> None:
        self._broken = error = broken.error
        self._met.set()
        if self._headquarters is not None:
            self._headquarters.fail(error)
        elif isinstance(error, AssemblyError) and self._speaks:
            say(f"error: {error}")
        elif isinstance(error, LostError) and self._world.local_rank in (0, None):
            # Seen by this node alone: what the launcher has here is gone.
            say(f"error: {error}")
        # All else is seen by rank 0 as well, which says it.
        self._status = error.status

    @property
    def _speaks(self) -> bool:
        # All ranks but 0 miss rank 0 alike, so one of them says it; a rank that
        # found a record and cannot reach its hub has more to say.
        return self._world.rank == 1 or "that does not answer" in self._meeting.trouble

    def _on_start(self, start: m.Start) -> None:
        self._started = True
        record, link = self._record, self._link
        assert record is not None  # noqa: S101  the hub has spoken
        assert link is not None  # noqa: S101  over it
        if self._headquarters is not None:
            self._later(self._republish(with_address(record, start.address)))
        if Role.worker in self._roles:
            self._later(self._work(start, record, link.host))

    async def _work(self, start: m.Start, record: Record, host: str) -> None:
        try:
            warnings = await self._crew.work(start, record, host)
        except RunnerError as error:
            self._fail(error)
            return
        for warning in warnings:
            self._say(m.Note(warning))

    async def _republish(self, record: Record) -> None:
        try:
            await self._meeting.publish(record)
        except ConfigError as error:
            # The ranks have met; only clients from outside miss the address.
            self._say(m.Note(str(error)))

    def _for_the_scheduler(self, message: m.Complete | m.WorkersLost) -> None:
        self._crew.scheduler.send(message)

    def _on_ready(self, ready: m.Ready) -> None:
        if self._closing:
            return
        self._client_told = True
        assert self._record is not None  # noqa: S101  linked
        self._crew.client.send(
            replace(
                ready,
                certificate=self._record.certificate,
                private_key=self._record.private_key,
            )
        )
        if self._client_signal:
            self._crew.client.signal(self._client_signal)

    def _on_client_ended(self, ended: Ended) -> None:
        said = ""
        if ended.status < 0 and not self._client_signal and not self._closing:
            said = f"the client on {self._node} {ended}"
        self._say(m.ClientEnded(ended.shell_status, said))

    def _on_client_says(self, message: m.ClientEnded) -> None:
        self._say(message)

    def _on_scheduler_up(self, message: m.SchedulerUp) -> None:
        self._say(message)

    def _on_scheduler_closed(self, message: m.SchedulerClosed) -> None:
        self._scheduler_closed = True
        self._say(message)

    def _on_scheduler_ended(self, ended: Ended) -> None:
        if self._closing or self._scheduler_closed:
            return
        self._fail(
            LostError(
                f"the scheduler on {self._node} {ended}{self._tail('scheduler')}",
                "a scheduler for as long as the script runs",
                "if it was killed for its memory, give rank 0 more; keep large results "
                "on the workers (persist, not compute)",
            )
        )

    def _on_workers_up(self, message: m.WorkersUp) -> None:
        self._say(message)

    def _on_worker_died(self, message: m.WorkerDied) -> None:
        self._say(message)

    def _on_agent_failed(self, message: m.Failed) -> None:
        self._say(message)

    def _on_forked(self, message: m.Forked) -> None:
        self._crew.born(message)

    def _on_declined(self, message: m.Declined) -> None:
        del message
        self._crew.agent.disown()
        self._later(self._crew.work_alone())

    def _on_agent_ended(self, ended: Ended) -> None:
        if not self._crew.serves:
            return  # it has forked what was to be forked
        if not self._closing and not self._scheduler_closed:
            self._say(
                m.Failed(f"its node agent {ended}{self._tail('agent')}", "", "", 69)
            )

    def _on_signal(self, message: m.Signalled) -> None:
        now = time.monotonic()
        last = self._signalled_at.get(message.number, now - SAME_SIGNAL)
        if now - last < SAME_SIGNAL:
            return
        self._signalled_at[message.number] = now
        if self._link is not None:
            self._say(message)
        elif message.number not in PASSED_ON:
            self._status = 128 + message.number

    def _on_signalled(self, message: m.Signalled) -> None:
        """Give the client a signal that some rank got."""
        if message.number not in PASSED_ON:
            self._client_signal = message.number
        # Slurm signals the task alone, not what it has started (proctrack/cgroup).
        if self._client_told:
            self._crew.client.signal(message.number)

    def _on_close(self, message: m.Close) -> None:
        if not self._closing:
            self._closing = True
            self._later(self._stop(message.status))

    def _tail(self, name: str) -> str:
        return self._crew.place.tail(name)

    async def _stop(self, status: int) -> None:
        await asyncio.gather(
            self._stop_client(status),
            self._crew.agent.finish(self._patience, m.Close(0)),
        )
        self._say(m.Bye())

    @property
    def _patience(self) -> float:
        """Seconds for our processes to end in order; none before they have begun."""
        return STOP / 2 if self._started else 0.0

    async def _stop_client(self, status: int) -> None:
        if Role.client not in self._roles:
            return
        if self._above is not None:
            await self._crew.client.stop(self._settings.grace, ask=m.Close(status))
            return
        # After a signal it has had its grace; before Ready it has not begun.
        spent = self._client_signal or not self._client_told
        await self._crew.client.stop(0.0 if spent else self._settings.grace, ask=None)

    def _on_finish(self, message: m.Finish) -> None:
        del message
        self._status = 0

    def _on_link_gone(self, ended: Ended) -> None:
        del ended
        if self._record is not None and not (self._link and self._link.silent):
            # Closed by rank 0's kernel: nobody is left there to withdraw it.
            self._meeting.adopt(self._record)
        if self._closing:
            self._status = 0
            return
        # One for each node; and one where rank 0 had the node to itself and us.
        if self._world.local_rank in (0, None) or self._world.rank == 1:
            say(
                f"error: rank {self._world.rank} on {self._node} lost the hub (rank 0"
                f"{' on ' + self._record.node if self._record else ''})"
            )
        self._status = LostError.status

    def _on_launched_gone(self, ended: Ended) -> None:
        """Be lost for the hub when the follower is lost that we play for."""
        del ended
        if self._closing:
            return
        if self._link is not None:
            self._link.close()
        self._status = LostError.status

    def _on_above_gone(self, ended: Ended) -> None:
        """Leave when the process above is gone: the launcher's rank is."""
        del ended
        if Role.client in self._roles:
            # No child of ours: only its launcher knows how it ended.
            said = f"the client on {self._node} is gone: killed, or by os._exit"
            self._say(m.ClientEnded(128 + signal.SIGKILL, said))
        elif not self._closing:
            self._status = LostError.status

    _TABLE: Mapping[tuple[str, type], Callable[[Rank, Any], None]] = {
        ("task", Crashed): _on_crashed,
        ("rendezvous", Linked): _on_linked,
        ("rendezvous", Broken): _on_broken,
        ("link", m.Start): _on_start,
        ("link", m.Complete): _for_the_scheduler,
        ("link", m.WorkersLost): _for_the_scheduler,
        ("link", m.Ready): _on_ready,
        ("link", m.Signalled): _on_signalled,
        ("link", m.Close): _on_close,
        ("link", m.Finish): _on_finish,
        ("link", Ended): _on_link_gone,
        ("client", Ended): _on_client_ended,
        ("above", m.ClientEnded): _on_client_says,
        ("above", Ended): _on_above_gone,
        ("scheduler", m.SchedulerUp): _on_scheduler_up,
        ("scheduler", m.SchedulerClosed): _on_scheduler_closed,
        ("scheduler", m.Failed): _on_agent_failed,
        ("scheduler", Ended): _on_scheduler_ended,
        ("agent", m.Forked): _on_forked,
        ("agent", m.Declined): _on_declined,
        ("agent", m.WorkersUp): _on_workers_up,
        ("agent", m.WorkerDied): _on_worker_died,
        ("agent", m.Failed): _on_agent_failed,
        ("agent", Ended): _on_agent_ended,
        ("launched", m.Signalled): _on_signal,
        ("launched", Ended): _on_launched_gone,
    }

    # --- the link -----------------------------------------------------------

    def _say(self, message: m.Message) -> None:
        if self._link is not None:
            self._link.say(message)

    def _fail(self, error: RunnerError) -> None:
        if self._link is not None:
            self._link.fail(error)

    def _look_around(self, every: float) -> None:
        """End what stands still on this rank; end as by SIGTERM without a launcher."""
        self._crew.end_the_standing(every)
        if os.getppid() != self._launcher:
            self._launcher = os.getppid()
            if self._above is None and may_be_outlived(self._world.launcher):
                self._on_signal(m.Signalled(signal.SIGTERM))

    # --- the end ------------------------------------------------------------

    async def _leave(self) -> None:
        """Leave nothing behind, whatever happened before."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Early: mpiexec may kill us before we are done.
        self._meeting.withdraw()
        await self._crew.leave(self._patience)
        await self._meeting.settle()
        self._launched.settle()
        if self._link is not None:
            await self._link.closed()
        if self._headquarters is not None:
            await self._headquarters.shut()
        self._crew.tidy()

    def _later(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._events.put_nowait(("task", Crashed(error)))
