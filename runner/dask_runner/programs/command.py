"""A user's program that is any command: we become it.

A Python below it is found by ``dask_runner/programs/sitehook/sitecustomize.py``, so
that ``.compute()`` without a client uses the cluster there as well.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dask_runner.hub.report import say
from dask_runner.programs.sitehook.standing import VERSIONS, versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Names the directory: a Python without this variable only passes through it.
SITEHOOK = "DASKRUNNER_SITEHOOK"


def become(command: str, args: Sequence[str], report: str | None = None) -> NoReturn:
    """Replace this process by the command.

    Raises
    ------
    SystemExit
        If it cannot be run, with the status of a shell for that.
    """
    if report:
        say(
            f"warning: --report {report} will not be written: it needs a program "
            "that runs here, as SCRIPT, -m or -c"
        )
    try:
        os.execvpe(command, [command, *args], environment(os.environ))  # noqa: S606  the user's own command
    except OSError as error:
        raise SystemExit(_cannot(command, error)) from None


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the command's environment: ours, and the way to the cluster."""
    hook = str(Path(__file__).parent / "sitehook")
    # An empty part would be the working directory.
    theirs = environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [hook, *(place for place in theirs if place != hook)]
    return {
        **environ,
        "PYTHONPATH": os.pathsep.join(path if theirs != [""] else [hook]),
        SITEHOOK: hook,
        VERSIONS: versions(),
    }


def _cannot(command: str, error: OSError) -> int:
    say(f"error: {command}: {error.strerror}")
    # The statuses of a shell for "not found" and "cannot run".
    return 127 if isinstance(error, FileNotFoundError) else 126
