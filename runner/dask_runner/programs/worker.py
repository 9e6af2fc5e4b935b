"""Set up a process that the fork server has forked, before it runs a worker.

The process ignores signals, as the agent does: a worker goes on while the script uses
its grace after SIGTERM. (A nanny that finds its worker over the memory limit sends
SIGTERM, and a tenth of a second later SIGKILL.)
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner import linux
from dask_runner.programs import carried, dask_tls, fork, log, openblas, user_modules
from dask_runner.programs.sitehook.for_client import Link
from dask_runner.resources import open_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.node.instructions import Modules


@dataclass(frozen=True)
class Placed:
    """Makes a worker with the CPUs, directory and variables of its rank.

    A nanny calls it in place of the worker's class.

    Attributes
    ----------
    kind : type
        The class of the worker.
    cpus : tuple of int
        The CPUs that it may use.
    directory, log : str
        Its working directory and its log file.
    modules : Modules
        Where the user's modules are.
    others : mapping
        Variables in which the agent's rank differs from the worker's, each with the
        value of the worker's rank, or None for a variable that it does not have.
    files : int
        The user's limit of open files.
    prints : tuple of str
        The label of what the worker prints, and the file that gets it as well; empty
        for none.
    """

    kind: Any
    cpus: tuple[int, ...]
    directory: str
    log: str
    modules: Modules
    others: Mapping[str, str | None]
    files: int
    prints: tuple[str, str]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Set the process up, and return the worker."""
        linux.name_process("dask-worker")
        fork.users_stderr()
        if life := asyncio.current_task():
            # Errors of Dask after a worker's end, or when it cannot start, do not
            # belong on the user's terminal.
            life.add_done_callback(lambda _: fork.quiet_again())
        dask_tls.keep_in_memory()
        # A task's client cannot know how the user comes to the dashboard.
        Link.set("", advises=False)
        for name, value in self.others.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        # OpenBLAS has read the variables of the fork server's rank.
        openblas.heed(os.environ)
        open_files.adopt(self.files)
        open_files.allow_many_files()
        carried.carry(*self.prints)
        carried.let_go()
        open_files.give_back()
        # Some threads exist already (of the nanny's connection, of a queue).
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), self.cpus)
        os.chdir(self.directory)
        log.log_to_file(self.log)
        user_modules.look_in(self.modules, user_modules.WORKER)
        if numbers := sys.modules.get("numpy.random"):
            # All forks start with the same state, and would draw the same numbers.
            numbers.seed()
        return self.kind(*args, **options)
