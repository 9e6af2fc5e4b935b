"""How the ranks that ``dask-runner -n`` starts meet: in a directory of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.launch.numbers import parse_digits_or_none
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


def launcher(environ: Mapping[str, str]) -> int | None:
    """Return the process that has started this one as a local rank; None for none."""
    if DIRECTORY_VARIABLE not in environ:
        return None
    return parse_digits_or_none(environ.get(JOB_ID_VARIABLE, "").partition("-")[0])
