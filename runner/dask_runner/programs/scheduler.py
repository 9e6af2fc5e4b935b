"""The Dask scheduler, in a process of its own that the agent forks.

The process receives ``RunScheduler``, and answers ``SchedulerUp`` or ``Failed``. It
loads the dashboard from ``Complete`` on, and removes the workers named in
``WorkersLost``. It answers ``AskActivity`` and ``AskWork``, tells
``Work`` every second, and answers ``Retire`` when workers have been
retired. It ends on ``Finish``, at the end of its lifeline, or by itself, when a client
shuts the cluster down or nobody uses it: it reports that as ``SchedulerClosed``.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.hub import messages as m
from dask_runner.node.instructions import RunScheduler
from dask_runner.programs import (
    carried,
    failures,
    lifeline,
    log,
    retiring,
    unused_scheduler,
    user_modules,
)
from dask_runner.programs.late_pages import LatePages
from dask_runner.programs.listening import Scheduler
from dask_runner.programs.unplaced import Unplaced
from dask_runner.resources import open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from dask_runner.wire.channel import Channel

logger = logging.getLogger("distributed.scheduler")

#: Seconds between two messages about its work, and the part of a CPU that they cost.
TELL_SECONDS = 1.0
MOST_OF_A_CPU = 1 / 200

#: The reason for its end where the hub ends it.
OURS = "dask-runner: the cluster ends"


def main() -> None:
    """Run the scheduler until the cluster ends."""
    lifeline.run(_serve)


async def _serve() -> None:
    channel = await lifeline.channel()
    log.log_to_file(sys.argv[2])
    run = await lifeline.expect(channel, RunScheduler)
    carried.carry("scheduler" if run.labels else "", run.copy)
    carried.let_go()
    lifeline.configure(run.environ)
    user_modules.look_in(run.modules, user_modules.SERVER)
    # Dask derives its number of connections to workers from the limit of open files.
    open_files.allow_many_files()
    open_files.give_back()

    # Dask then takes another port, and the start line names that port.
    warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
    # Without bokeh, Dask would warn that it serves no dashboard.
    dashboard = run.dashboard and importlib.util.find_spec("bokeh") is not None
    private = Path(sys.argv[2]).parent if run.dashboard else None
    try:
        scheduler = Scheduler(
            private,
            run.ports,
            dashboard=False,  # it starts later, because all workers wait for this
            **lifeline.secured(run.options, run.keys),
        )
        await scheduler
    except Exception as error:  # noqa: BLE001  options may cause any error
        options = "--protocol, --interface, --dashboard-address and scheduler_options"
        channel.send(failures.did_not_start("a scheduler", error, options))
        await channel.closed()
        return
    pages = (scheduler.pages, scheduler.readers) if dashboard else ()
    channel.send(m.SchedulerUp(scheduler.address, *pages))

    prefix = run.options.get("http_prefix", "/")
    begin = LatePages(scheduler, prefix).load if dashboard else _nothing
    scheduler.before_close = partial(_say_why, channel, run)
    told = asyncio.ensure_future(_told_to_finish(channel, scheduler, run, begin))
    ended = asyncio.ensure_future(scheduler.finished())
    await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
    if told.done():
        await scheduler.close(reason=OURS)
    else:
        await channel.closed()


def _say_why(channel: Channel, run: RunScheduler, reason: str) -> None:
    """Tell the hub that the scheduler closes by itself, before its workers leave."""
    whys = {
        unused_scheduler.IDLE: f"no task for {run.idle_timeout:g} s (--idle-timeout)",
        unused_scheduler.NO_CLIENT: f"no client for {run.no_client_timeout:g} s "
        "(--no-client-timeout)",
    }
    if reason in whys:
        channel.send(m.SchedulerClosed(f"{whys[reason]}: the cluster ends"))
    elif reason != OURS:
        channel.send(m.SchedulerClosed())


async def _told_to_finish(
    channel: Channel,
    scheduler: Scheduler,
    run: RunScheduler,
    begin: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Do what the hub says, until it says that the cluster ends."""
    begun: list[asyncio.Task[None]] = []
    while (message := await channel.receive()) is not None:
        if isinstance(message, m.Complete):
            begun.append(asyncio.create_task(begin()))
            begun.append(asyncio.create_task(_tell_of_work(channel, scheduler)))
            _end_if_unused(scheduler, run)
        elif isinstance(message, m.WorkersLost):
            await _lose(scheduler, message.names)
        elif isinstance(message, m.Retire):
            begun.append(asyncio.create_task(_retire(channel, scheduler, message)))
        elif isinstance(message, m.RetireAll):
            begun.append(asyncio.create_task(_retire_all(scheduler, message)))
        elif isinstance(message, m.AskActivity):
            channel.send(unused_scheduler.activity(scheduler))
        elif isinstance(message, m.AskWork):
            channel.send(scheduler.work.now())
        elif isinstance(message, m.Finish):
            break
    for task in begun:
        task.cancel()


async def _tell_of_work(channel: Channel, scheduler: Scheduler) -> None:
    """Tell the hub what is computed, and what cannot be; spend little on it."""
    pause = TELL_SECONDS
    unplaced = Unplaced(scheduler)
    while True:
        await asyncio.sleep(pause)
        began = time.thread_time()
        channel.send(scheduler.work.now())
        if line := unplaced.news():
            channel.send(m.Note(line))
        pause = max(TELL_SECONDS, (time.thread_time() - began) / MOST_OF_A_CPU)


def _end_if_unused(scheduler: Scheduler, run: RunScheduler) -> None:
    if run.idle_timeout:
        # From now on: nobody could use it before.
        scheduler.idle_since, scheduler.idle_timeout = None, run.idle_timeout
    if run.no_client_timeout:
        scheduler.add_plugin(
            unused_scheduler.NoClient(scheduler, run.no_client_timeout)
        )


async def _lose(scheduler: Scheduler, names: Sequence[str]) -> None:
    """Remove workers, so that other workers compute their results again."""
    lost = [
        address
        for address, worker in scheduler.workers.items()
        if str(worker.name) in names
    ]
    for address in lost:
        await scheduler.remove_worker(address, stimulus_id=f"lost-{address}")


async def _retire(channel: Channel, scheduler: Scheduler, message: m.Retire) -> None:
    try:
        names = await retiring.retire(scheduler, message.left, set(message.names))
    except Exception:
        # It is Dask's code that failed: the cluster goes on with all of its workers.
        logger.exception("Workers were not retired")
        names = message.names
    channel.send(m.Staying(names))


async def _retire_all(scheduler: Scheduler, message: m.RetireAll) -> None:
    try:
        await retiring.retire_all(scheduler, message.names, message.seconds)
    except Exception:
        # As above; the hub ends them when their time is over.
        logger.exception("Workers were not retired")


async def _nothing() -> None:
    """Serve no dashboard."""
