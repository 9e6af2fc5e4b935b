"""A runner in a program that ``dask-runner`` has started already.

The program is one process of its launch, and the only one that runs the script. Its
runner would find the launcher's variables, and wait for the other ranks in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.own_variables import LAUNCH_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.world import World


class NestedError(ConfigError):
    """The ranks are a cluster already; only this process runs into the error."""


def refuse_nested(world: World, environ: Mapping[str, str]) -> None:
    """Refuse a second cluster of the ranks that have started this program.

    Parameters
    ----------
    world : World
        The place that this process has found.
    environ : mapping
        Names the launch, if it is one of ``dask-runner``.

    Raises
    ------
    NestedError
        If it is this launch.
    """
    if world.key and world.key == environ.get(LAUNCH_VARIABLE):
        raise NestedError(
            "a runner in a script that dask-runner has started: its ranks are a "
            "cluster already",
            "one of the two",
            "write Client() without initialize(), execute() or a runner; or start the "
            "script by python SCRIPT in place of dask-runner SCRIPT (apptainer exec "
            "IMAGE python SCRIPT)",
        )
