"""The user's program, in a process of its own that the agent forks.

The process receives ``RunClient`` at once, and ``Ready`` when the cluster is ready. The
program then runs as under ``python script.py``; the top process takes its exit status.
With ``dask-runner connect`` the process is :mod:`dask_runner.programs.attached`.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import logging
import os
import pkgutil
import runpy
import signal
import sys
import types
from functools import partial
from importlib.machinery import BuiltinImporter, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner import linux
from dask_runner.hub import messages as m
from dask_runner.hub.report import say
from dask_runner.launch.own_variables import DASHBOARD_VARIABLE, NAME_VARIABLE
from dask_runner.node.instructions import RunClient
from dask_runner.node.program import STDIN
from dask_runner.programs import added_packages, by_lines, lifeline, user_modules
from dask_runner.programs.command import become, environment
from dask_runner.programs.sitehook.for_client import Link, advise
from dask_runner.programs.termination import STATUS, Termination
from dask_runner.resources import open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dask_runner.wire.channel import BlockingChannel


#: Loggers of what fails in Dask when its cluster is lost.
NOISY_LOGGERS = (
    *("distributed.client", "distributed.core", "distributed.batched"),
    *("distributed.utils", "tornado.application", "asyncio"),
)

#: What SIGTERM does in the program.
_termination = Termination()


def main() -> None:
    """Wait for the cluster, then run the user's program in this process."""
    # The program watches no lifeline, so the kernel ends it with the top process.
    linux.die_with_parent(signal.SIGKILL)
    lifeline.hear_signals()
    open_files.put_back()
    begin(lifeline.blocking_channel())


def begin(channel: BlockingChannel) -> None:
    """Wait for the instructions, and run the user's program in this process."""
    run = channel.receive()
    if not isinstance(run, RunClient):
        raise SystemExit(0)
    os.environ.update(run.environ)
    ready = channel.receive()
    if not isinstance(ready, m.Ready):
        raise SystemExit(0)
    os.environ["DASK_SCHEDULER_ADDRESS"] = ready.address
    os.environ |= {DASHBOARD_VARIABLE: ready.dashboard, NAME_VARIABLE: ready.name}
    if ready.packages:
        added_packages.use(ready.packages)
    # A script starts other Pythons, too, whose Client() connects.
    os.environ.update(environment(os.environ))
    program = run.program
    if program.kind == "command":
        become(program.target, program.args, run.report)
    by_lines.print_by_lines()  # `dask-runner connect` has not forked this process
    with _default_client(ready, run), _termination:
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            # As in a fresh Python: from now on it is the program that is interrupted.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if run.text is None:
            KINDS[program.kind](program.target, program.args)
        else:
            _text(program.target, program.args, base64.b64decode(run.text))


@contextlib.contextmanager
def _default_client(ready: m.Ready, run: RunClient) -> Iterator[None]:
    """Connect a default client, so that ``.compute()`` alone uses the cluster too."""
    import dask  # noqa: PLC0415

    from dask_runner.programs.dask_tls import as_security  # noqa: PLC0415
    from dask_runner.programs.default_client import connect  # noqa: PLC0415

    # A Client() of the program, and of processes that it starts, finds the key files.
    dask.config.refresh()
    Link.set(ready.dashboard)
    keys = as_security(ready.certificate, ready.private_key)
    client = connect(ready.address, keys)
    _termination.heard = partial(_be_quiet_if_lost, client)
    try:
        with _reported(client, run):
            yield
    finally:
        if client.status == "running":
            client.close()


def _reported(client: Any, run: RunClient) -> contextlib.AbstractContextManager[None]:
    if run.report is None:
        return contextlib.nullcontext()
    from dask_runner.programs import html_report  # noqa: PLC0415  for few

    code = html_report.source(run.program, run.text)
    return html_report.reported(client, Path(run.report), code)


def _be_quiet_if_lost(client: Any) -> None:
    """Log no error of a connection to a cluster that is lost: the program ends."""

    def there(record: logging.LogRecord) -> bool:
        del record
        return bool(client.status == "running")

    for name in NOISY_LOGGERS:
        logging.getLogger(name).addFilter(there)


def _script(path: str, args: Sequence[str]) -> None:
    sys.argv = [path, *args]
    full = _absolute(path)
    # As in Python: a directory or an archive has an importer, a file has none.
    if importer := pkgutil.get_importer(full):
        _main_of(importer, full)
    else:
        _file(full, Path(full).read_bytes())


def _main_of(importer: Any, full: str) -> None:
    with _users_traceback():
        spec = importer.find_spec("__main__")  # in an archive, this compiles it
    if spec is None:
        say(f"error: can't find '__main__' module in {full!r}")
        raise SystemExit(1)
    user_modules.begin(full)
    values = {
        "__file__": spec.origin,
        "__cached__": spec.cached,
        "__loader__": spec.loader,
        "__package__": "",
        "__spec__": spec,
    }
    _execute(lambda: spec.loader.get_code("__main__"), values)


def _file(full: str, source: bytes) -> None:
    if sys.argv[1:]:
        _tell_of_misplaced(source)
    user_modules.begin(user_modules.script_directory(full))
    loader = SourceFileLoader("__main__", full)
    values = {"__file__": full, "__cached__": None, "__loader__": loader}
    _execute(lambda: _compiled(source, full), values)


def _tell_of_misplaced(source: bytes) -> None:
    from dask_runner.programs.misplaced_options import misplaced  # noqa: PLC0415  for few

    if found := misplaced(source, sys.argv[1:]):
        say(
            f"warning: {found!r} is for the script, which reads no arguments; options "
            f"of dask-runner come before it: dask-runner {found} {sys.argv[0]}"
        )


def _text(target: str, args: Sequence[str], source: bytes) -> None:
    """Run a program whose text the top process has read."""
    sys.argv = [target, *args]
    if target == STDIN:
        user_modules.begin("")
        values = {
            "__file__": "<stdin>",
            "__cached__": None,
            "__loader__": BuiltinImporter,
        }
        _execute(lambda: _compiled(source, "<stdin>"), values)
    else:
        _file(_absolute(target), source)


def _absolute(path: str) -> str:
    # As Python does: "." is the only path that it shortens (Python/fileutils.c).
    return os.getcwd() if path == "." else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118


def _code(code: str, args: Sequence[str]) -> None:
    sys.argv = ["-c", *args]
    user_modules.begin("")
    values = {"__loader__": BuiltinImporter}
    _execute(lambda: _compiled(code.encode(), "<string>"), values)


def _compiled(source: bytes, name: str) -> types.CodeType:
    # Without this module's own `from __future__`, which would change the program.
    return compile(source, name, "exec", dont_inherit=True)


def _execute(code: Callable[[], types.CodeType], values: Mapping[str, Any]) -> None:
    # Pickled functions and multiprocessing look the module __main__ up later, and
    # runpy.run_path removes its own at the end.
    module = types.ModuleType("__main__")
    vars(module).update(values)
    sys.modules["__main__"] = module
    with _users_traceback():
        exec(code(), vars(module))  # noqa: S102  the user's own program


def _module(name: str, args: Sequence[str]) -> None:
    sys.argv = ["-m", *args]
    user_modules.begin(_absolute("."))
    with _users_traceback():
        if not _is_there(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        runpy.run_module(name, run_name="__main__", alter_sys=True)


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        # Either its package does not exist, or the package fails to import another.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return False


KINDS = {"script": _script, "code": _code, "module": _module}


@contextlib.contextmanager
def _users_traceback() -> Iterator[None]:
    """Print an exception's traceback without the frames of this program."""
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  KeyboardInterrupt as well
        if _termination.is_end(error):
            raise SystemExit(STATUS) from None
        trace = error.__traceback__
        while trace is not None and _is_ours(trace.tb_frame):
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        advise(error)
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        raise SystemExit(status) from None


#: Files of the code between ours and the user's.
_OURS = frozenset(
    {
        __file__,
        contextlib.__file__,
        runpy.__file__,
        "<frozen importlib._bootstrap>",
        "<frozen importlib._bootstrap_external>",
        "<frozen runpy>",
        "<frozen zipimport>",
    }
)


def _is_ours(frame: types.FrameType) -> bool:
    return frame.f_code.co_filename in _OURS
