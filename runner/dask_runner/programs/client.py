"""The user's program, in a process of its own, forked by the agent.

Gets ``Run`` with what to run at once, so that it can warm up, and ``Ready``
when the cluster is. Then it is, as far as the program can tell, an ordinary
``python script.py``: the top process takes its exit status.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import runpy
import signal
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner import messages as m
from dask_runner import files, openblas
from dask_runner.programs import lifeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Wait for the cluster, then become the user's program."""
    # The program may be anything, and may never look at a lifeline: let the
    # kernel end it with the top process (prctl(2)).
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    lifeline.hear_signals()
    files.put_back()
    channel = lifeline.blocking_channel()
    run = channel.receive()
    if not isinstance(run, m.Run):
        raise SystemExit(0)
    spec = run.spec
    os.environ.update(spec["environ"])
    ready = channel.receive()
    if not isinstance(ready, m.Ready):
        raise SystemExit(0)
    os.environ["DASK_SCHEDULER_ADDRESS"] = ready.address
    if spec["kind"] == "command":
        from dask_runner.programs.command import become  # noqa: PLC0415  as late

        become(spec["target"], spec["args"], spec.get("report"))
    openblas.heed(os.environ)
    with _default_client(ready.address, spec["material"], spec.get("report")):
        KINDS[spec["kind"]](spec["target"], spec["args"])


@contextlib.contextmanager
def _default_client(
    address: str, material: list[str], report: str | None
) -> Iterator[None]:
    """Connect, so that ``.compute()`` alone uses the cluster as well."""
    import dask  # noqa: PLC0415

    from dask_runner.security import as_security  # noqa: PLC0415
    from dask_runner.sitehook.standing import connect  # noqa: PLC0415

    # The program's own Client(), here and in what it starts, finds the files.
    dask.config.refresh()
    client = connect(address, as_security(*material))
    try:
        with _reported(client, report) if report else contextlib.nullcontext():
            yield
    finally:
        if client.status == "running":
            client.close()


@contextlib.contextmanager
def _reported(client: Any, path: str) -> Iterator[None]:
    """Write Dask's report at the end, whatever the end is."""
    from distributed import performance_report  # noqa: PLC0415

    watched = performance_report(path)
    with client.as_current():
        watched.__enter__()
    try:
        yield
    finally:
        trouble = "the cluster is gone"
        if client.status == "running":
            trouble = _written(client, watched)
        if trouble:
            from dask_runner.report import say  # noqa: PLC0415

            say(f"warning: --report {path} was not written: {trouble}")


def _written(client: Any, watched: Any) -> str:
    try:
        with client.as_current():
            watched.__exit__(None, None, None)
    except (OSError, TimeoutError, ValueError) as error:
        return str(error)
    return ""


def _script(path: str, args: list[str]) -> None:
    sys.argv = [path, *args]
    full = Path(path).absolute()
    # As Python does: beside the script itself, wherever a link to it is.
    sys.path.insert(0, str(full.resolve().parent))
    values = {"__file__": str(full), "__cached__": None}
    _execute(full.read_bytes(), str(full), values)


def _code(code: str, args: list[str]) -> None:
    sys.argv = ["-c", *args]
    sys.path.insert(0, "")
    _execute(code.encode(), "<string>", {})


def _execute(source: bytes, name: str, values: Mapping[str, Any]) -> None:
    # A real __main__ module, where runpy.run_path has a passing one: pickled
    # functions and multiprocessing look it up.
    module = types.ModuleType("__main__")
    vars(module).update(values)
    sys.modules["__main__"] = module
    with _users_traceback():
        # Without our own `from __future__`: it would make another program of it.
        code = compile(source, name, "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102  the user's own


def _module(name: str, args: list[str]) -> None:
    sys.argv = ["-m", *args]
    sys.path.insert(0, "")
    with _users_traceback():
        if not _is_there(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        runpy.run_module(name, run_name="__main__", alter_sys=True)


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        # Its package is not there; or it is, and does not find something else.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return False


KINDS = {"script": _script, "code": _code, "module": _module}


@contextlib.contextmanager
def _users_traceback() -> Iterator[None]:
    """Let an exception show the user's frames and not ours."""
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  KeyboardInterrupt as well
        trace = error.__traceback__
        while trace is not None and _is_ours(trace.tb_frame):
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        raise SystemExit(status) from None


def _is_ours(frame: types.FrameType) -> bool:
    ours = (__file__, runpy.__file__, "<frozen runpy>", contextlib.__file__)
    return frame.f_code.co_filename in ours
