"""The node agent: it imports Dask and starts a rank's workers.

Gets ``Run`` with ``nanny`` at once, so that it can warm up, and ``Run`` with
``workers`` and what they need when the scheduler is up. Answers ``WorkersUp`` or
``Failed``. Ends, with its workers, at ``Close`` or at the end of its lifeline.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner import messages as m
from dask_runner.programs import lifeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.channel import Channel

#: What a worker process imports in any case; the fork server does it once.
PRELOAD = ["dask_runner.programs.worker"]

#: ``distributed.nanny.pre-spawn-environ``, whose default is known only once
#: distributed is imported. A nanny sets these before it spawns a worker; a forked
#: worker has them only if the fork server had them when it started.
PRE_SPAWN = {
    "MALLOC_TRIM_THRESHOLD_": 65536,
    "OMP_NUM_THREADS": 1,
    "MKL_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
}


#: Of the 107 bytes for the path of a UNIX socket, what is left by the names that
#: multiprocessing gives it ("/pymp-12345678/listener-12345678").
LONGEST = 107 - 32

#: Seconds for a worker to close before its nanny kills it: one that has just lost
#: its scheduler tries for longer, and this process would be killed with it, in
#: the middle of its tidying up.
CLOSE = 2.0


async def main() -> None:
    """Warm up, start the workers, wait for the end."""
    channel = await lifeline.channel()
    run = (await lifeline.expect(channel, m.Run)).spec
    lifeline.log_to_file()
    import dask.config  # noqa: PLC0415  after the lifeline: importing takes a while

    nanny = run["nanny"]
    if nanny:
        _start_fork_server(dask.config)
    import dask_runner.programs.worker  # noqa: F401, PLC0415

    work = (await lifeline.expect(channel, m.Run)).spec
    lifeline.configure(work["environ"], work["path"])
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})

    started: list[Any] = []
    end = asyncio.ensure_future(_end(channel))
    start = asyncio.ensure_future(_start(work, nanny=nanny, started=started))
    await asyncio.wait({end, start}, return_when=asyncio.FIRST_COMPLETED)
    if start.done():
        channel.send(_outcome(start, work))
        await end
    start.cancel()
    # A scheduler that is gone would be called for half a minute.
    dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    # One that has not started may not know how to close; this process ends all.
    closing = (_close(server) for server in started)
    for problem in await asyncio.gather(*closing, return_exceptions=True):
        if problem is not None:
            logging.getLogger("distributed").warning("at the end: %r", problem)


def _start_fork_server(config: Any) -> None:
    """Import in the fork server while this process imports as well."""
    wanted = config.get("distributed.nanny.pre-spawn-environ", PRE_SPAWN)
    for name, value in wanted.items():
        if value is not None:
            os.environ.setdefault(name, str(value))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    # It starts multiprocessing's resource tracker as well, which is no code of
    # ours and would die of these; the fork server takes them off its mask again.
    signal.pthread_sigmask(signal.SIG_BLOCK, lifeline.BLOCKED)
    # Its socket is in a directory that an orderly end alone removes: let that be
    # in the rank's own, which is removed in any case, if the path may be so long.
    private = str(Path(sys.argv[2]).parent)
    if len(private) <= LONGEST:
        tempfile.tempdir = private
    multiprocessing.forkserver.ensure_running()
    tempfile.tempdir = None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, lifeline.BLOCKED)


async def _start(
    work: Mapping[str, Any], *, nanny: bool, started: list[Any]
) -> list[Any]:
    from distributed import Nanny  # noqa: PLC0415  imported by main already
    from distributed.utils import import_term  # noqa: PLC0415

    kind = import_term(work["worker_class"])
    for one in work["workers"]:
        common = {**work["common"], **one, **work["options"]}
        if not nanny or (isinstance(kind, type) and issubclass(kind, Nanny)):
            server = kind(work["scheduler"], **common)
        else:
            server = Nanny(work["scheduler"], worker_class=kind, **common)
        started.append(server)
    return await asyncio.gather(*started)


def _outcome(start: asyncio.Future[Any], work: Mapping[str, Any]) -> m.Message:
    error = start.exception()
    if error is None:
        workers = work["workers"]
        limits = [worker["memory_limit"] for worker in workers]
        return m.WorkersUp(
            [str(worker["name"]) for worker in workers],
            sum(worker["nthreads"] for worker in workers),
            sum(limits) if all(limits) else 0,
        )
    options = "--worker-class, --preload, --resources and worker_options"
    what = f"workers of the class {work['worker_class']}"
    return lifeline.did_not_start(what, error, options)


async def _end(channel: Channel) -> None:
    while isinstance(await channel.receive(), m.Ping):
        pass


async def _close(server: Any) -> None:
    await server.close(timeout=CLOSE, reason="dask-runner: the cluster ends")


if __name__ == "__main__":
    lifeline.run(main, tidy=True)
