"""The Dask scheduler, in a process of its own, forked by the agent.

Gets ``Run`` with ``host, protocol, dashboard, dashboard_address, path`` and
answers ``SchedulerUp`` or ``Failed``; ends at ``Finish``, at the end of its
lifeline, or when a client shuts the cluster down (then it says ``SchedulerClosed``).
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import warnings
from typing import Any

from distributed import Scheduler

from dask_runner import messages as m
from dask_runner.programs import lifeline


def main() -> None:
    """Serve until told to finish."""
    lifeline.run(_serve)


async def _serve() -> None:
    channel = await lifeline.channel()
    lifeline.log_to_file(sys.argv[2])
    spec = (await lifeline.expect(channel, m.Run)).spec
    lifeline.configure(spec["environ"], spec["path"])

    # Dask then takes another port, and our line about the dashboard names it.
    warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
    # Without bokeh Dask serves no dashboard and warns.
    dashboard = spec["dashboard"] and importlib.util.find_spec("bokeh") is not None
    try:
        scheduler = Scheduler(
            host=spec["host"],
            protocol=spec["protocol"],
            dashboard=dashboard,
            dashboard_address=spec["dashboard_address"],
            **spec["options"],
        )
        await scheduler
    except Exception as error:  # noqa: BLE001  whatever the options make of it
        options = "--protocol, --interface, --dashboard-address and scheduler_options"
        channel.send(lifeline.did_not_start("a scheduler", error, options))
        await channel.closed()
        return
    port = scheduler.services["dashboard"].port if dashboard else 0
    channel.send(m.SchedulerUp(scheduler.address, port))

    told = asyncio.ensure_future(_told_to_finish(channel))
    ended = asyncio.ensure_future(scheduler.finished())
    await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
    if told.done():
        await scheduler.close(reason="dask-runner: the cluster ends")
    else:
        channel.send(m.SchedulerClosed())
        await channel.closed()


async def _told_to_finish(channel: Any) -> None:
    while isinstance(await channel.receive(), m.Ping):
        pass
