"""The client's program: what the client inherits for it, and its instructions."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from dask_runner.hub.report_files import dasks
from dask_runner.launch.own_variables import RESTART_VARIABLE
from dask_runner.launch.slurm import restarts
from dask_runner.node import make_instructions, program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.launch import Launch, Program
    from dask_runner.node.instructions import RunClient


class ClientProgram:
    """The program that a rank's client runs.

    Parameters
    ----------
    given : Program
        As the user named it.
    launch : Launch

    Attributes
    ----------
    stdin : int
        What the client has as standard input; -1 for nothing.
    descriptors : list of int
        Descriptors of the program's that the client inherits.
    """

    def __init__(self, given: Program, launch: Launch) -> None:
        self._given = given
        self._launch = launch
        self._environ: Mapping[str, str] = {}
        self._found = asyncio.Event()
        self.stdin = -1 if _stdin_is_unusable() else 0
        self.descriptors = list(given.descriptors)

    def found(self, environ: Mapping[str, str]) -> None:
        """Note that the hub is found, and the variables that the program gets then."""
        self._environ = environ
        self._found.set()

    async def instructions(self) -> RunClient:
        """Return the client's, once the program is read and the hub is found.

        Raises
        ------
        ConfigError, AssemblyError
            If the program cannot be run.
        """
        launch = self._launch
        # A command may be one of the packages', which come later.
        later = self._given.kind == "command" and launch.settings.packages
        try:
            text = None
            if not later:
                wait = launch.settings.timeout, launch.world.rank
                text = await program.read(self._given, launch.environ, *wait)
        finally:
            for descriptor in self.descriptors:  # the client has inherited them
                os.close(descriptor)
        await self._found.wait()
        again = {RESTART_VARIABLE: str(restarts(launch.environ))}
        report = dasks(launch.settings.report, launch.world.job_id)
        environ = {**self._environ, **again}
        return make_instructions.client(self._given, environ, text, report)


def _stdin_is_unusable() -> bool:
    # The client is in a background process group, so reading from a terminal would stop
    # it (SIGTTIN). An error is better than a program that hangs.
    return sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()
