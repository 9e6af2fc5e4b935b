"""Start a tool of the checkout: find the Docker SDK, run the tool, report errors.

Any Python may start a tool, so this module imports the standard library alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
VENV = ROOT / ".venv"

_MISSING_SDK = f"""\
this Python ({sys.executable}) has no Docker SDK
  needed: the package "docker" of the Python package index
  you can: run "make venv", or pip install docker"""


def start(module: str) -> NoReturn:
    """Run a module's ``main`` and exit with its status.

    The Python of the checkout's ``.venv`` takes over if ``make`` has filled it; without
    it, any Python with the Docker SDK will do.

    Parameters
    ----------
    module : str
        Full name of the module, for example ``containers.engine``.
    """
    _prefer_venv()
    if importlib.util.find_spec("docker") is None:
        sys.stderr.write(_MISSING_SDK + "\n")
        raise SystemExit(78)
    errors = importlib.import_module("dask_runner.errors")
    try:
        status = importlib.import_module(module).main(sys.argv[1:])
    except errors.RunnerError as error:
        sys.stderr.write(f"{error}\n")
        status = error.status
    except importlib.import_module("docker.errors").APIError as error:
        refusal = errors.LostError(
            f"the engine refuses: {error.explanation or error}",
            "containers that are in the state that the command expects",
            "look at them with docker ps -a, and at the end of ci/README.md",
        )
        sys.stderr.write(f"{refusal}\n")
        status = refusal.status
    except KeyboardInterrupt:
        status = 130
    raise SystemExit(status)


def _prefer_venv() -> None:
    """Run the same command with the Python of ``.venv``, if ``make`` has filled it."""
    python = VENV / "bin" / "python"
    # A virtual environment's python is a link to the base one: their prefixes differ,
    # their resolved paths do not.
    if Path(sys.prefix).resolve() == VENV.resolve():
        return
    if (VENV / "developer").exists() and os.access(python, os.X_OK):
        os.execv(python, [str(python), *sys.argv])  # noqa: S606 - no shell wanted
