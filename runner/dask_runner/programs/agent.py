"""The node agent: the one process of its node that imports Dask.

It forks the scheduler and the client of its rank and multiprocessing's fork
server, from which all workers of the node come. Then it looks after the nannies:
of its own rank, and of every rank of the node that connects to its socket
(:mod:`dask_runner.node.agent_socket`). Its argument is a JSON object: ``siblings`` to
fork, ``serves`` (whether there will be workers), ``socket`` for the other ranks, or -1,
``place`` (of this rank), ``launchers`` (descriptors that are its launcher's) and
``added`` (variables), both for it alone, ``nannies`` (whether the workers have some),
``preload_modules``, ``files`` (the user's limit of them), ``top`` (the process that is
its parent) and ``stderr`` (the descriptor that is the user's: its own is its log); or
``forks``, where it is to be but a fork server (:mod:`dask_runner.programs.forks`).

It says ``Forked`` for each sibling. At ``Close`` it ends its rank's workers and says
``Bye``; at a second one, or at the end of its lifeline, it ends with all workers. In
the meantime, and where there are no workers, it sees to it that its rank does not
stand still for ever, and removes what a rank that was killed has left.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import ssl
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dask_runner.hub import messages as m
from dask_runner.hub.channel import BlockingChannel, open_channel
from dask_runner.node.agent_socket import Place
from dask_runner.node.child import Sibling
from dask_runner.node.exits import birth
from dask_runner.programs import bereft, fork, forks, lifeline, openblas
from dask_runner.resources import open_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def main() -> None:
    """Import, fork, and look after the nannies."""
    plan = json.loads(sys.argv[3])
    if "forks" in plan:
        _take_the_fork_servers_place(plan)
    variables = frozenset(os.environ) - {*plan["added"]}
    own = socket.socket(fileno=int(sys.argv[1]))
    own.set_inheritable(False)
    fork.hold(plan["stderr"])
    open_files.adopt(plan["files"])
    lifeline.leave_signals_to_the_top()
    forked: dict[int, str] = {}
    with bereft.ends_with(plan["top"], Path(sys.argv[2]).parent, forked):
        with lifeline.told(own):
            fork.call_it("dask-agent")
            _import_in_peace()
            sibling = _fork_siblings(plan, own, forked)
        if not sibling:
            # All workers are forks of its forks.
            open_files.allow_many_files()
            if plan["serves"]:
                with lifeline.told(own):
                    _prepare_workers(plan, own)
    if sibling:
        importlib.import_module(f"dask_runner.programs.{sibling}").main()
    else:
        live = partial(_live, own, plan, variables, forked)
        lifeline.run(live, top=plan["top"])


def _fork_siblings(
    plan: Mapping[str, Any], own: socket.socket, forked: dict[int, str]
) -> str:
    """Fork them all; return in each its name, and "" in the agent.

    *forked* gets the process id of each, and when it began.
    """
    siblings = [Sibling(**one) for one in plan["siblings"]]
    for sibling in siblings:
        pid = fork.fork()
        if pid == 0:
            _leave_to(sibling, siblings, plan, own)
            return sibling.name
        forked[pid] = birth(pid)
        sibling.close()
        BlockingChannel(own).send(m.Forked(sibling.name, pid))
    return ""


def _import_in_peace() -> None:
    lifeline.look_at_logging()
    with fork.without_collecting():
        import_shared()


def import_shared() -> None:
    """Import what scheduler, client, nannies and workers have in common."""
    import distributed.nanny  # noqa: PLC0415  after the lifeline: it takes a while
    import distributed.scheduler  # noqa: PLC0415
    import distributed.worker  # noqa: PLC0415, F401

    import dask_runner.programs.listening  # noqa: PLC0415
    import dask_runner.programs.worker  # noqa: PLC0415, F401
    from dask_runner.programs.dask_tls import keep_in_memory  # noqa: PLC0415
    from dask_runner.programs.openssl import repair  # noqa: PLC0415

    repair()
    keep_in_memory()


#: What Dask's worker imports no sooner than it is made.
LATE = (
    "multiprocessing.popen_forkserver",
    "multiprocessing.synchronize",
    "tornado.platform.asyncio",
)


def _do_once_for_all() -> None:
    """Do what every worker would begin with, so that its forks have done it."""
    import dask.config  # noqa: PLC0415  loaded already
    import dask.multiprocessing  # noqa: PLC0415
    import distributed.versions  # noqa: PLC0415
    from distributed.http.routing import RoutingApplication  # noqa: PLC0415
    from distributed.http.utils import get_handlers  # noqa: PLC0415

    for module in LATE:
        importlib.import_module(module)
    # Compiles the patterns of all routes, which are kept (re).
    RoutingApplication(
        get_handlers(None, dask.config.get("distributed.worker.http.routes"))
    )
    # Loads numpy.random where there is NumPy; each fork seeds it anew.
    dask.multiprocessing.default_initializer()
    # Reads the metadata of ten packages, and keeps what it found.
    distributed.versions.get_versions()
    # The first context loads OpenSSL's configuration.
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Last: until a class is registered, it is kept which abstract classes are
    # those of the values (abc).
    dask.config.refresh()


def _leave_to(
    sibling: Sibling,
    siblings: Sequence[Sibling],
    plan: Mapping[str, Any],
    own: socket.socket,
) -> None:
    """Keep nothing that is the agent's or another sibling's."""
    own.close()
    fork.users_stderr()
    if plan["socket"] >= 0:
        os.close(plan["socket"])
    for launchers in plan["launchers"]:
        os.close(launchers)
    for later in siblings[siblings.index(sibling) + 1 :]:
        later.close()
    for name in plan["added"]:
        os.environ.pop(name, None)
    fork.become(sibling)


def _prepare_workers(plan: Mapping[str, Any], own: socket.socket) -> None:
    """Load what the user wants shared, and fork the fork server."""
    _import_for_workers(plan)
    foreign = [own.fileno(), *plan["launchers"]]
    foreign += [plan["socket"]] * (plan["socket"] >= 0)
    again = {name: plan[name] for name in ("added", "preload_modules")}
    environ = {openblas.VARIABLES[0]: "1"} if _was_for_the_import(plan) else {}
    if plan["nannies"]:
        forks.try_semaphores()
    forks.keep(sys.argv[2], again, environ, foreign)
    if not plan["nannies"]:
        # Here are the workers: what their tasks print is for the user.
        os.dup2(fork.users(), 2)


def _was_for_the_import(plan: Mapping[str, Any]) -> bool:
    return openblas.VARIABLES[0] in plan["added"]


def _import_for_workers(plan: Mapping[str, Any]) -> None:
    import dask.config  # noqa: PLC0415  loaded already

    lifeline.log_to_file(sys.argv[2])
    if _was_for_the_import(plan):
        os.environ.pop(openblas.VARIABLES[0])
    for name, value in dask.config.get("distributed.nanny.pre-spawn-environ").items():
        if value is not None:
            os.environ.setdefault(name, str(value))
    openblas.heed(os.environ)
    # Of a node that is busy, told to a user who did nothing wrong; forks have it too.
    warnings.filterwarnings("ignore", "Creating scratch directories", UserWarning)
    with fork.without_collecting():
        _do_once_for_all()
        for name in plan["preload_modules"]:
            _preload(name)


def _take_the_fork_servers_place(plan: Mapping[str, Any]) -> NoReturn:
    """Import what the agent did, and serve at a socket that it has opened."""
    with lifeline.logged():
        lifeline.leave_signals_to_the_top()
        _import_in_peace()
        fork.hold(plan["forks"]["stderr"])
        _import_for_workers(plan)
        forks.serve(int(sys.argv[1]), plan["forks"]["alive"])


def _preload(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        what = f"the module {name} of --preload-modules"
        raise lifeline.problem_with(what, error, "its name") from error


async def _live(
    own: socket.socket,
    plan: Mapping[str, Any],
    variables: frozenset[str],
    forked: Mapping[int, str],
) -> None:
    """Look after the workers of this rank, and of all that ask for it."""
    from dask_runner.programs.node_agent import Agent  # noqa: PLC0415  has Dask

    agent = Agent(Place(**plan["place"]), plan["silence"], variables, forked)
    watch = asyncio.create_task(agent.watch())
    if plan["socket"] >= 0:
        agent.listen(socket.socket(fileno=plan["socket"]))
    await agent.own(await open_channel(own))
    watch.cancel()


if __name__ == "__main__":
    main()
