"""The node agent: the one process of its node that imports Dask.

It forks the scheduler and the client of its rank and multiprocessing's fork
server, from which all workers of the node come. Then it looks after the nannies:
of its own rank, and of every rank of the node that shares it
(:mod:`dask_runner.node.shared_agent`). It receives ``RunAgent``; or ``RunForkServer``,
and then it is only a fork server (:mod:`dask_runner.programs.fork_server`).

It says ``Forked`` for each sibling. At ``Close`` it ends its rank's workers and says
``Bye``; at a second one, or at the end of its lifeline, it ends with all workers. In
the meantime, and where there are no workers, it sees to it that its rank does not
stand still for ever, and removes what a rank that was killed has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import platform
import socket
import ssl
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dask_runner import linux
from dask_runner.node import bytecode
from dask_runner.node import messages as n
from dask_runner.node.events import Source
from dask_runner.node.exits import birth
from dask_runner.node.importing import without_collecting
from dask_runner.node.instructions import RunAgent, RunForkServer
from dask_runner.node.quick_exit import quick_exit
from dask_runner.programs import (
    by_lines,
    carried,
    failures,
    fork,
    fork_server,
    lifeline,
    log,
    openblas,
    orphaned_agent,
)
from dask_runner.resources import open_files
from dask_runner.resources.private_directory import HeldDirectory
from dask_runner.wire.channel import BlockingChannel, open_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dask_runner.node.child import Sibling
    from dask_runner.node.instructions import Imports


def main() -> None:
    """Import, fork, and look after the nannies."""
    own = socket.socket(fileno=int(sys.argv[1]))
    own.set_inheritable(False)
    run = BlockingChannel(own).receive()
    if isinstance(run, RunForkServer):
        own.close()
        _take_the_fork_servers_place(run)
    if not isinstance(run, RunAgent):
        # The top process was killed, and cannot remove what it has made.
        HeldDirectory.at(Path(sys.argv[2]).parent).remove()
        raise SystemExit(0)
    work(run, own, import_in_peace)


def work(run: RunAgent, own: socket.socket, import_dask: Callable[[], None]) -> None:
    """Fork, and look after the nannies.

    Parameters
    ----------
    run : RunAgent
    own : socket
        The lifeline.
    import_dask : callable
        Imports it, or raises why that has failed.
    """
    variables = frozenset(os.environ) - {*run.imports.added}
    fork.hold(run.stderr)
    by_lines.print_by_lines()
    open_files.adopt(run.files)
    lifeline.leave_signals_to_the_top()
    forked: dict[int, str] = {}
    private = Path(sys.argv[2]).parent
    with orphaned_agent.ends_with(run.top, private, forked, run.published):
        with failures.told(own):
            linux.name_process("dask-agent")
            sibling = _fork_carrier(run, own)
            if not sibling:
                import_dask()
                sibling = _fork_siblings(run, own, forked)
        if not sibling:
            # All workers are forks of its forks.
            open_files.allow_many_files()
            if run.serves:
                with failures.told(own):
                    _prepare_workers(run, own)
    if sibling:
        program = importlib.import_module(f"dask_runner.programs.{sibling}")
        # What the user's code imports is looked for where it is.
        bytecode.leave()
        program.main()
    else:
        live = partial(_live, own, run, variables, forked)
        lifeline.run(live, top=run.top)
    # The client runs the user's program, and so do workers without nannies: what that
    # has loaded may end with Python alone, as MPI does.
    if sibling != Source.client and (sibling or run.nannies):
        quick_exit(0)


def _fork_carrier(run: RunAgent, own: socket.socket) -> str:
    """Fork the carrier, if there is to be one; return as :func:`_fork_siblings`."""
    if run.carrier is None:
        return ""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = fork.fork()
    if pid == 0:
        ours.close()
        _leave_to(run.carrier, run, own)
        carried.hold(theirs)
        return run.carrier.name
    theirs.close()
    run.carrier.close()
    carried.hold(ours)
    BlockingChannel(own).send(n.Forked(run.carrier.name, pid))
    return ""


def _fork_siblings(run: RunAgent, own: socket.socket, forked: dict[int, str]) -> str:
    """Fork all siblings; return a sibling's name in that process, "" in the agent.

    *forked* gets the process ID of each, and when it began.
    """
    for sibling in run.siblings:
        client = sibling.name == Source.client
        pid = fork.fork(partial(_heed_openblas, run.imports) if client else None)
        if pid == 0:
            _leave_to(sibling, run, own)
            return sibling.name
        forked[pid] = birth(pid)
        sibling.close()
        BlockingChannel(own).send(n.Forked(sibling.name, pid))
    return ""


def _heed_openblas(imports: Imports) -> None:
    users = {k: v for k, v in os.environ.items() if k not in imports.added}
    openblas.heed(users)


def import_in_peace() -> None:
    """Import what all programs need, as this process has it."""
    log.look_at_logging()
    with without_collecting(), _yaml_by_libyaml():
        import_shared()


@contextlib.contextmanager
def _yaml_by_libyaml() -> Iterator[None]:
    """Have Dask read its configuration with libyaml, where PyYAML has it.

    Dask takes the loader in Python, for which its own files are 20 ms of CPU time.
    """
    import yaml  # noqa: PLC0415  as Dask does

    in_python = yaml.safe_load
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    yaml.safe_load = partial(yaml.load, Loader=loader)
    try:
        yield
    finally:
        yaml.safe_load = in_python


def import_shared() -> None:
    """Import the modules that scheduler, client, nannies and workers share."""
    import distributed.nanny  # noqa: PLC0415  slow, and the lifeline comes first
    import distributed.scheduler  # noqa: PLC0415
    import distributed.worker  # noqa: PLC0415, F401

    import dask_runner.programs.listening  # noqa: PLC0415
    import dask_runner.programs.worker  # noqa: PLC0415, F401
    from dask_runner.programs.comm import backend  # noqa: PLC0415
    from dask_runner.programs.dask_tls import keep_in_memory  # noqa: PLC0415
    from dask_runner.programs.tornado_tls import repair  # noqa: PLC0415

    repair()
    backend.install()
    keep_in_memory()
    # Dask tells others the processor's name. Python asks a program for it (uname -p),
    # which knows no other than this one and takes 20 ms, in each of three forks.
    vars(platform.uname())["processor"] = platform.machine()


#: Modules that Dask only imports when it makes a worker.
LATE = (
    "multiprocessing.popen_forkserver",
    "multiprocessing.synchronize",
    "tornado.platform.asyncio",
)


def do_once_for_all() -> None:
    """Do the work that each worker would begin with, once for all forks."""
    import dask.config  # noqa: PLC0415  loaded already
    import dask.multiprocessing  # noqa: PLC0415
    import distributed.versions  # noqa: PLC0415
    from distributed.http.routing import RoutingApplication  # noqa: PLC0415

    for module in LATE:
        importlib.import_module(module)
    # This compiles the patterns of a server's routes, which the module re keeps.
    RoutingApplication()
    # This loads numpy.random if NumPy is installed; each fork seeds it again.
    dask.multiprocessing.default_initializer()
    # This reads the metadata of ten packages, and keeps it.
    distributed.versions.get_versions()
    # The first context loads OpenSSL's configuration.
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # This comes last, because abc keeps its results until a class is registered.
    dask.config.refresh()


def _leave_to(
    sibling: Sibling,
    run: RunAgent,
    own: socket.socket,
) -> None:
    """Close what belongs to the agent or another sibling, and become *sibling*."""
    own.close()
    fork.users_stderr()
    for launchers in run.launchers:
        os.close(launchers)
    at = run.siblings.index(sibling) + 1 if sibling in run.siblings else 0
    for later in run.siblings[at:]:
        later.close()
    for name in run.imports.added:
        os.environ.pop(name, None)
    fork.become(sibling)
    if sibling.name != Source.scheduler:
        carried.let_go()


def _prepare_workers(run: RunAgent, own: socket.socket) -> None:
    """Import the modules that workers share, and fork the fork server."""
    _import_for_workers(run.imports)
    bytecode.leave()
    foreign = [own.fileno(), *run.launchers]
    environ = {openblas.VARIABLES[0]: "1"} if _was_for_the_import(run.imports) else {}
    if run.nannies:
        fork_server.try_semaphores()
    fork_server.keep(sys.argv[2], run.imports, environ, foreign)
    if not run.nannies:
        # The workers run in this process, and their tasks print to the user's stderr.
        os.dup2(fork.users(), 2)


def _was_for_the_import(imports: Imports) -> bool:
    return openblas.VARIABLES[0] in imports.added


def _import_for_workers(imports: Imports) -> None:
    import dask.config  # noqa: PLC0415  loaded already

    log.log_to_file(sys.argv[2])
    if _was_for_the_import(imports):
        os.environ.pop(openblas.VARIABLES[0])
    for name, value in dask.config.get("distributed.nanny.pre-spawn-environ").items():
        if value is not None:
            os.environ.setdefault(name, str(value))
    openblas.heed(os.environ)
    # Dask warns of this on a busy node, where the user can do nothing. Forks inherit
    # it.
    warnings.filterwarnings("ignore", "Creating scratch directories", UserWarning)
    with without_collecting():
        do_once_for_all()
        for name in imports.preload_modules:
            # Else the workers load it, when the packages have come.
            if not imports.packages or _is_here(name):
                _preload(name)


def _take_the_fork_servers_place(run: RunForkServer) -> NoReturn:
    """Import what the agent did, and serve at a socket that it has opened."""
    with failures.logged():
        lifeline.leave_signals_to_the_top()
        import_in_peace()
        fork.hold(run.stderr)
        if run.carrier >= 0:
            carried.hold(socket.socket(fileno=run.carrier))
        by_lines.print_by_lines()
        _import_for_workers(run.imports)
        bytecode.leave()
        fork_server.serve(run.listener, run.alive)


def _is_here(name: str) -> bool:
    return importlib.util.find_spec(name.partition(".")[0]) is not None


def _preload(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        what = f"the module {name} of --preload-modules"
        raise failures.problem_with(what, error, "its name") from error


async def _live(
    own: socket.socket,
    run: RunAgent,
    variables: frozenset[str],
    forked: Mapping[int, str],
) -> None:
    """Run the workers of this rank, and of all ranks that ask for it."""
    from dask_runner.programs.agent_work import AgentWork  # noqa: PLC0415  has Dask

    private = Path(sys.argv[2]).parent
    agent = AgentWork(private, run.silence, variables, forked, run.published)
    watch = asyncio.create_task(agent.watch())
    await agent.own(await open_channel(own))
    watch.cancel()
