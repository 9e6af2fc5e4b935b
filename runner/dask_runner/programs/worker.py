"""What becomes of a process that the fork server has forked, before it is a worker.

It inherits the agent's deafness to signals: a worker goes on while the script uses
the grace after SIGTERM. (A nanny that finds its worker over the memory limit sends
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
from dask_runner.programs import dask_tls, fork, lifeline, openblas, user_modules
from dask_runner.resources import open_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.node.instructions import Modules


@dataclass(frozen=True)
class Placed:
    """Makes a worker, in the place of the rank that it belongs to.

    A nanny calls it where it would call the class of the worker.

    Attributes
    ----------
    kind : type
        The class of the worker.
    cpus : tuple of int
        The CPUs that it may use.
    directory, log : str
        Its working directory and its log.
    modules : Modules
        Where the user's modules are.
    others : mapping
        Variables of the rank whose agent it was forked from, which its own rank does
        not have: what it gets in their place, or None.
    files : int
        How many files the user lets a process have.
    """

    kind: Any
    cpus: tuple[int, ...]
    directory: str
    log: str
    modules: Modules
    others: Mapping[str, str | None]
    files: int

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Take the place, and make the worker."""
        linux.name_process("dask-worker")
        fork.users_stderr()
        if life := asyncio.current_task():
            # What goes wrong in Dask after a worker's end, or because it cannot begin,
            # is no business of the user's terminal.
            life.add_done_callback(lambda _: fork.quiet_again())
        dask_tls.keep_in_memory()
        for name, value in self.others.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        # It has read the variables of the rank that the fork server is of.
        openblas.heed(os.environ)
        open_files.adopt(self.files)
        open_files.allow_many_files()
        open_files.give_back()
        # Threads that are there already (a nanny's link, a queue's) as well.
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), self.cpus)
        os.chdir(self.directory)
        lifeline.log_to_file(self.log)
        user_modules.look_in(self.modules, user_modules.WORKER)
        if numbers := sys.modules.get("numpy.random"):
            # Forks begin with one state of it: not the same numbers in each.
            numbers.seed()
        return self.kind(*args, **options)
