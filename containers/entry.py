"""What the executables of this folder share: find the SDK, report errors.

Standard library only, because the Python that starts an executable may be any.
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

_MISSING_SDK = f"""\
this Python ({sys.executable}) has no Docker SDK
  needed: the package "docker" of the Python package index
  you can: run "make" once (it fills .venv), or pip install docker"""


def start(module: str) -> NoReturn:
    """Run ``main`` of a module of this folder and exit with its status.

    A Python without the Docker SDK hands over to the checkout's ``.venv``.

    Parameters
    ----------
    module : str
        Full name of the module, for example ``containers.engine``.
    """
    if importlib.util.find_spec("docker") is None:
        _hand_over()
    errors = importlib.import_module("dask_runner.errors")
    try:
        status = importlib.import_module(module).main(sys.argv[1:])
    except errors.RunnerError as error:
        sys.stderr.write(f"{error}\n")
        status = error.status
    except importlib.import_module("docker.errors").APIError as error:
        refusal = errors.LostError(
            f"the engine refuses: {error.explanation or error}",
            "a command that fits the state that its containers are in",
            "see it with docker ps -a; ci/README.md, when something is wrong",
        )
        sys.stderr.write(f"{refusal}\n")
        status = refusal.status
    except KeyboardInterrupt:
        status = 130
    raise SystemExit(status)


def _hand_over() -> NoReturn:
    """Replace this process by the same one under ``.venv``, or say what to do."""
    python = ROOT / ".venv" / "bin" / "python"
    # A virtual environment's python links to the base one, so prefixes tell
    # them apart where resolved paths would not.
    if not os.access(python, os.X_OK) or Path(sys.prefix) == ROOT / ".venv":
        sys.stderr.write(_MISSING_SDK + "\n")
        raise SystemExit(78)
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - no shell wanted
