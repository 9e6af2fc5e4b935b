"""The Dask scheduler, in a process of its own, forked by the agent.

Gets ``RunScheduler`` and answers ``SchedulerUp`` or ``Failed``. Serves the dashboard
from ``Complete`` on, and forgets the workers of ``WorkersLost``.
Ends at ``Finish``, at the end of its lifeline, or when a client shuts the cluster
down (then it says ``SchedulerClosed``).
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config

from dask_runner.hub import messages as m
from dask_runner.node.instructions import RunScheduler
from dask_runner.programs import lifeline, user_modules
from dask_runner.programs.listening import Scheduler
from dask_runner.resources import open_files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from dask_runner.hub.channel import Channel

logger = logging.getLogger("distributed.scheduler")

#: Seconds after the script for the dashboard to begin.
AFTER_THE_SCRIPT = 1.0

#: Whose pages may open websockets to the dashboard, where it is on a Unix socket: those
#: that come out of a tunnel. Any other page in the same browser could read it as well.
ORIGINS = ["127.0.0.1:*", "localhost:*", "[::1]:*"]


def main() -> None:
    """Serve until told to finish."""
    lifeline.run(_serve)


async def _serve() -> None:
    channel = await lifeline.channel()
    lifeline.log_to_file(sys.argv[2])
    run = await lifeline.expect(channel, RunScheduler)
    lifeline.configure(run.environ)
    user_modules.look_in(run.modules, user_modules.SERVER)
    # Dask derives from it how many connections it keeps to workers.
    open_files.allow_many_files()
    open_files.give_back()

    # Dask then takes another port, and our line about the dashboard names it.
    warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
    # Without bokeh Dask serves no dashboard and warns.
    dashboard = run.dashboard and importlib.util.find_spec("bokeh") is not None
    private = Path(sys.argv[2]).parent if run.dashboard else None
    try:
        scheduler = Scheduler(
            private,
            dashboard=False,  # later: nobody looks yet, and all workers wait for us
            **lifeline.secured(run.options, run.keys),
        )
        await scheduler
    except Exception as error:  # noqa: BLE001  whatever the options make of it
        options = "--protocol, --interface, --dashboard-address and scheduler_options"
        channel.send(lifeline.did_not_start("a scheduler", error, options))
        await channel.closed()
        return
    pages = (scheduler.pages, scheduler.readers) if dashboard else ()
    channel.send(m.SchedulerUp(scheduler.address, *pages))

    prefix = run.options.get("http_prefix", "/")
    begin = partial(_serve_dashboard, scheduler, prefix) if dashboard else _nothing
    told = asyncio.ensure_future(
        _told_to_finish(channel, begin, partial(_lose, scheduler))
    )
    ended = asyncio.ensure_future(scheduler.finished())
    await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
    if told.done():
        await scheduler.close(reason="dask-runner: the cluster ends")
    else:
        channel.send(m.SchedulerClosed())
        await channel.closed()


async def _told_to_finish(
    channel: Channel,
    begin: Callable[[], Coroutine[Any, Any, None]],
    lose: Callable[[Sequence[str]], Awaitable[None]],
) -> None:
    """Wait for the end; *begin* what could wait when the cluster is complete."""
    begun: list[asyncio.Task[None]] = []
    while (message := await channel.receive()) is not None:
        if isinstance(message, m.Complete):
            begun.append(asyncio.create_task(begin()))
        elif isinstance(message, m.WorkersLost):
            await lose(message.names)
        elif isinstance(message, m.Finish):
            break
    for task in begun:
        task.cancel()


async def _lose(scheduler: Scheduler, names: Sequence[str]) -> None:
    """Compute elsewhere what these workers have or compute."""
    lost = [
        address
        for address, worker in scheduler.workers.items()
        if str(worker.name) in names
    ]
    for address in lost:
        await scheduler.remove_worker(address, stimulus_id=f"lost-{address}")


async def _nothing() -> None:
    """Serve no dashboard."""


async def _serve_dashboard(scheduler: Scheduler, prefix: str) -> None:
    """Add to the scheduler's HTTP server what its own ``dashboard=True`` would.

    Importing bokeh takes half a second, in a thread: the scheduler is at work. Yet the
    two share an interpreter, so that the script, which connects now, goes first.
    """
    await asyncio.sleep(AFTER_THE_SCRIPT)
    try:
        pages = await asyncio.to_thread(
            importlib.import_module, "distributed.dashboard.scheduler"
        )
    except Exception:
        # The user's packages may be at odds with bokeh; the work goes on without.
        logger.exception("There is no dashboard")
        return
    if scheduler.pages.startswith("/"):
        _open_to_tunnels()
    pages.connect(
        scheduler.http_application,
        scheduler.http_server,
        scheduler,
        prefix=prefix,
    )


def _open_to_tunnels() -> None:
    """Let bokeh refuse pages of others, unless the user has said whose may come."""
    from bokeh.settings import settings  # noqa: PLC0415  half a second

    chosen = "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin"
    if dask.config.get(chosen) == ["*"] and not settings.allowed_ws_origin():
        settings.allowed_ws_origin = ORIGINS
