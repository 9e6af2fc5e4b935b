"""All that is known before anything is started, as plain values."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.roles import Plan
    from dask_runner.settings import Settings
    from dask_runner.world import World


@dataclass(frozen=True, slots=True)
class Program:
    """What the client runs: "script", "module", "code" or "command"."""

    kind: str
    target: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """One rank's part in one cluster.

    Attributes
    ----------
    world, plan, settings
        What the first stages found.
    environ : mapping
        The launcher's child's environment.
    program : Program or None
        None where the client is a process above ours (the library's way in).
    scheduler_options, worker_options : mapping
        Further keywords for Dask's Scheduler, and its workers or nannies.
    worker_name : str
        Prefix of the workers' names; empty for none.
    scheduler_address : str
        A scheduler that runs elsewhere, for a plan without one.
    """

    world: World
    plan: Plan
    settings: Settings
    environ: Mapping[str, str]
    program: Program | None = None
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    worker_options: Mapping[str, Any] = field(default_factory=dict)
    worker_name: str = ""
    scheduler_address: str = ""


def check(program: Program, environ: Mapping[str, str]) -> None:
    """Refuse a program that cannot be run, before the cluster is up.

    Raises
    ------
    ConfigError
    """
    if program.kind == "command":
        if shutil.which(program.target, path=environ.get("PATH")) is None:
            raise ConfigError(
                f"the command {program.target!r} is not on the PATH",
                "a command that exists where rank 0 runs",
                "check its name, and that it is in the image",
            )
        return
    if program.kind != "script":
        return
    path = Path(program.target)
    try:
        with path.open("rb") as file:
            file.read(1)
    except IsADirectoryError:
        saw = f"the script {program.target!r} is a directory"
    except OSError as error:
        saw = f"the script {program.target!r}: {error.strerror}"
    else:
        return
    raise ConfigError(
        saw,
        f"a Python file that {socket.gethostname()} can read (working directory "
        f"{Path.cwd()})",
        "check the path; in a container, bind the directory that it is in "
        "(apptainer run --bind DIR)",
    )
