"""A user's program that is a command: this process becomes it.

A ``Client()`` in a Python below the command, or below a script, connects by the
variables that Dask reads. The site hook (``dask_runner/programs/sitehook``) adds what
these cannot carry.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dask_runner.hub.report import say
from dask_runner.launch.own_variables import SITEHOOK_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def become(command: str, args: Sequence[str], report: str | None = None) -> NoReturn:
    """Replace this process by the command.

    Raises
    ------
    SystemExit
        If the command cannot be run, with the status that a shell would give.
    """
    if report:
        say(
            f"warning: --report {report} will not be written: it needs a program "
            "that runs here, as SCRIPT, -m or -c"
        )
    try:
        os.execvpe(command, [command, *args], os.environ)  # noqa: S606  the user's own command
    except OSError as error:
        raise SystemExit(_cannot(command, error)) from None


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which every Python has the site hook."""
    hook = str(Path(__file__).parent / "sitehook")
    # An empty entry would mean the working directory.
    theirs = environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [hook, *(place for place in theirs if place != hook)]
    return {
        **environ,
        "PYTHONPATH": os.pathsep.join(path if theirs != [""] else [hook]),
        SITEHOOK_VARIABLE: hook,
    }


def _cannot(command: str, error: OSError) -> int:
    say(f"error: {command}: {error.strerror}")
    # A shell's statuses for "not found" and "cannot run".
    return 127 if isinstance(error, FileNotFoundError) else 126
