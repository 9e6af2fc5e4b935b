"""What a Python that connects with ``Client()`` has to know of the cluster.

Used by :mod:`dask_runner.programs.client`, and below ``-- COMMAND`` by any Python,
whether it has the package dask_runner or not: nothing of it is imported here.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

#: Says where the cluster's dashboard is, or how one comes to it, to such a Python.
DASHBOARD = "DASKRUNNER_DASHBOARD"
#: Gives such a Python the cluster's name.
NAME = "DASKRUNNER_NAME"
#: Gives what Jupyter starts the prefix of its addresses, if it shows our dashboards.
JUPYTER = "DASKRUNNER_JUPYTER"

#: Tells such a Python what it attaches to: the cluster's name, its Python and its Dask.
VERSIONS = "DASKRUNNER_VERSIONS"

_WORKERS = (
    "your cluster runs already, and Client() cannot give it {0}: write Client(), and "
    "give dask-runner such options (--nworkers, --nthreads, --memory-limit)"
)
_JOBQUEUE = "your job is a cluster already: write Client() in place of a cluster of {0}"
_MPI = "your ranks are a cluster already: write Client(), without {0}"
_MISSING = (
    "there is no module {0} here: start the cluster with --with PACKAGE to add a "
    "package that the image lacks; put a module of your own beside the script"
)

#: Errors of programs that were written for a cluster of their own: the kind, the module
#: that raises it ("" for any), its text, and what we say.
ADVICE = (
    (
        ValueError,
        "distributed.client",
        r"Unexpected keyword arguments: \[(.*)\]",
        _WORKERS,
    ),
    (ModuleNotFoundError, "", "No module named '(dask_jobqueue)'", _JOBQUEUE),
    (ModuleNotFoundError, "", "No module named '(dask_mpi)'", _MPI),
    (
        ModuleNotFoundError,
        "",
        r"No module named '(?!dask_(?:jobqueue|mpi)')(\w+)'",
        _MISSING,
    ),
)

_NOT_YOURS = """\
error: {path!r} is closed to this container's user, {us}: {directory!r} is {owner}'s
  needed: a container that runs as somebody who may use it
  you can: docker run --user {owner} (or podman); for yours, --user "$(id -u):$(id -g)"\
"""
#: What Docker and Podman put into each container.
_ENGINES = ("/.dockerenv", "/run/.containerenv")

_ANOTHER = (
    "warning: {0}() makes another cluster, beside the one that dask-runner has started "
    "here; to use that one, write Client() in its place"
)


class Link(str):
    """Dask's template of the links to dashboards, which knows the cluster's as well.

    Dask fills in the scheduler's host, and a port. Ours has no port that is for all;
    other clusters of the same program have, and their links stay as they are. So does a
    template of the user's that needs no port.
    A scheduler that starts in this process shows its link, too: the program makes
    another cluster, and is told that it has one.

    Attributes
    ----------
    ours : str
        The link to the cluster's, or how one comes to it.
    told : bool
        Whether the program has been told.
    """

    __slots__ = ("ours",)
    ours: str
    told = False

    @classmethod
    def set(cls, ours: str, *, advises: bool = True) -> None:
        """Make it Dask's template in this process, which it *advises* or not."""
        import dask.config  # noqa: PLC0415  the caller has it

        link = cls(dask.config.get("distributed.dashboard.link"))
        link.ours = ours
        cls.told = not advises
        dask.config.set({"distributed.dashboard.link": link})

    def format(self, *args: Any, **values: Any) -> str:
        """Fill in as for any cluster, if it is one that has a port."""
        if values.get("port") is None and "{port}" in self:
            return self.ours
        self._tell_of_another()
        return super().format(*args, **values)

    @classmethod
    def _tell_of_another(cls) -> None:
        """Tell the program once that it makes another cluster, if it does."""
        from distributed import Scheduler, SpecCluster  # noqa: PLC0415  Dask calls this

        if cls.told or not Scheduler._instances:  # noqa: SLF001  no public list
            return
        cls.told = True
        kinds = sorted(type(one).__name__ for one in SpecCluster._instances)  # noqa: SLF001  as above
        _say(_ANOTHER.format(kinds[0] if kinds else "Scheduler"))

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Return a plain str for another process, which may be another cluster's."""
        return str, (str(self),)


def other_versions(name: str, python: str, distributed: str) -> str:
    """Return in a line how this Python differs from a cluster's; "" if it does not.

    What one minor version of Python pickles, another may not read; and every version
    of Dask has its own messages.

    Parameters
    ----------
    name : str
        The cluster's.
    python, distributed : str
        Its versions.
    """
    from importlib import metadata  # noqa: PLC0415  the caller has Dask

    own = platform.python_version(), metadata.version("distributed")
    if own[0].split(".")[:2] == python.split(".")[:2] and own[1] == distributed:
        return ""
    return (
        f"warning: the cluster {name!r} has Python {python} and distributed "
        f"{distributed}, this program has Python {own[0]} and distributed {own[1]}: "
        "what one sends, the other may not understand"
    )


def prepare() -> None:
    """Do what a Python below the program needs; ``distributed.client`` is loaded."""
    told = os.environ.get(VERSIONS, "").split()
    if told and (differ := other_versions(*told)):
        _say(differ)
    there = in_jupyter(os.environ.get(NAME, ""), os.environ)
    Link.set(there or os.environ.get(DASHBOARD, ""))
    _advise_at_the_end()
    if "_ssl" in sys.modules:
        _repair()


def in_jupyter(name: str, environ: Mapping[str, str]) -> str:
    """Return the link by which a cluster's dashboard is shown in Jupyter.

    Parameters
    ----------
    name : str
        The cluster's; empty if it has none.
    environ : mapping

    Returns
    -------
    str
        Without the host, which is the notebook's own; empty if Jupyter does not show
        our dashboards, or has not started this process.
    """
    prefix = environ.get(JUPYTER, "")
    return f"{prefix}proxy/dask-runner/{name}/status" if prefix and name else ""


def advise(error: BaseException) -> None:
    """Say what to write instead, if an error is of a cluster that is not needed."""
    for kind, module, pattern, text in ADVICE:
        found = re.fullmatch(pattern, str(error))
        if type(error) is kind and found and module in ("", _raised_in(error)):
            _say(text.format(*found.groups()))
    if isinstance(error, PermissionError) and any(map(os.path.exists, _ENGINES)):
        own = Path("/").stat().st_dev
        for line in not_yours(error.filename, os.geteuid(), os.getegid(), own):
            _say(line)


def not_yours(path: object, uid: int, gid: int, device: int) -> tuple[str, ...]:
    """Return whose a path is that a process may not use, and how to be that user.

    Parameters
    ----------
    path : object
        What an error names, which need not be a path.
    uid, gid : int
        The process's user and group.
    device : int
        That of the container's own files, which are not the user's.

    Returns
    -------
    tuple of str
        Lines; none if it is not another user's.
    """
    if not isinstance(path, (str, bytes)):
        return ()
    there = Path(os.fsdecode(path)).absolute()
    try:
        found = (there if there.exists() else there.parent).stat()
    except OSError:
        return ()
    if found.st_uid == uid or found.st_dev == device:
        return ()
    values = {
        "path": os.fsdecode(path),
        "us": f"{uid}:{gid}",
        "directory": str(there if there.exists() else there.parent),
        "owner": f"{found.st_uid}:{found.st_gid}",
    }
    return tuple(line.format(**values) for line in _NOT_YOURS.split("\n"))


def _raised_in(error: BaseException) -> str:
    """Return the module whose code has raised an error."""
    trace: TracebackType | None = error.__traceback__
    name = ""
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return name


def _advise_at_the_end() -> None:
    show = sys.excepthook

    def show_and_advise(
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        show(kind, error, trace)
        advise(error)

    sys.excepthook = show_and_advise


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"dask-runner: {text}\n")
        sys.stderr.flush()


def _repair() -> None:
    """Apply tornado_tls.py, which imports nothing of ours either."""
    path = Path(__file__).parents[1] / "tornado_tls.py"
    name = "_dask_runner_tornado_tls"
    module = ModuleType(name)
    SourceFileLoader(name, str(path)).exec_module(module)
    repair: Callable[[], None] = module.repair
    repair()
