"""How the ranks that ``dask-runner -n`` starts meet: in a directory of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.launch.own_variables import DIRECTORY_VARIABLE, JOB_ID_VARIABLE
from dask_runner.meeting.by_file import FileMeeting, file_meeting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.world import World


def private_meeting(
    world: World, environ: Mapping[str, str], scheduler_file: str | None
) -> FileMeeting:
    """Return how local ranks meet: in their directory, or as the user says."""
    if scheduler_file:
        return file_meeting(world, environ, scheduler_file)
    return FileMeeting(
        [Path(environ[DIRECTORY_VARIABLE]) / f"{world.key}.json"], world.key
    )


def is_child_of_launcher(environ: Mapping[str, str]) -> bool:
    """Return whether the process that started us as a local rank is still there."""
    launcher = environ.get(JOB_ID_VARIABLE, "").partition("-")[0]
    return launcher == str(os.getppid())
