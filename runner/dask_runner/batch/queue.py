"""The jobs that a program has in a batch system's queue, by their numbers.

Every call runs one of the system's commands, and waits for its end.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_runner.batch import job_script, submit
from dask_runner.batch.systems import SYSTEMS
from dask_runner.errors import ConfigError, SubmitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask_runner.batch.job_script import Job
    from dask_runner.batch.systems import Queue, System

#: Seconds for one command.
COMMAND_SECONDS = 60.0
#: Words of a command that a message shows.
_SHOWN = 200

_NUMBER = re.compile(r"\s*(\d+)", re.ASCII)


def system_here(launcher: str, environ: Mapping[str, str]) -> System:
    """Return the batch system that jobs are submitted to from here.

    Parameters
    ----------
    launcher : str
        The row that has started the cluster: where Slurm has, it is Slurm.
    environ : mapping

    Raises
    ------
    ConfigError
        If that is not clear.
    """
    path = environ.get("PATH", os.defpath)
    here = [
        system
        for system in SYSTEMS
        if system.queue and shutil.which(system.submit[0][0], path=path)
    ]
    own = [system for system in here if launcher == system.name]
    found = own or here
    if len(found) != 1:
        known = ", ".join(system.name for system in SYSTEMS if system.queue)
        raise ConfigError(
            f"the commands of {' and '.join(one.title for one in found)} are here"
            if found
            else "no command that submits jobs is on the PATH here",
            "one batch system, to submit jobs that join the cluster",
            f'name one of {known} with job={{"system": "{(found or SYSTEMS)[0].name}"}}'
            "; or submit the jobs elsewhere: dask-runner job SYSTEM -- join NAME",
        )
    return found[0]


@dataclass(frozen=True)
class JobQueue:
    """Submits copies of one job, and follows them.

    Attributes
    ----------
    job : Job
    site : mapping
        What Dask's configuration has below ``runner.job``.
    environ : mapping
    say : callable
        Gets what a command says on its standard error.
    """

    job: Job
    site: Mapping[str, Any]
    environ: Mapping[str, str]
    say: Callable[[str], object]

    def check(self) -> int:
        """Return the number of ranks of a job that can be submitted from here.

        Raises
        ------
        UsageError, ConfigError
            If the job is wrong, or a command is not here.
        """
        self._of_system()
        submit.commands(self.job.system, self.environ)
        job_script.make(self.job, self.site, self.environ)
        return job_script.ranks(self.job, self.site, self.environ)

    def submit(self) -> str:
        """Submit a job; return its number.

        Raises
        ------
        UsageError, ConfigError
            As :meth:`check`.
        SubmitError
            If the command fails, or what it prints has no number.
        """
        pattern = self._of_system().submitted
        printed = job_script.submitted(
            self.job, self.site, self.environ, COMMAND_SECONDS, self.say
        ).decode(errors="replace")
        found = re.search(pattern, printed, re.ASCII | re.MULTILINE)
        if found is None:
            raise SubmitError(
                f"{self.job.system.submit[0][0]} printed {printed[:_SHOWN]!r}",
                "the number of the job that it has queued",
                "look at your jobs, and cancel this one by hand",
            )
        return found[1]

    def there(self) -> set[str]:
        """Return the numbers of the jobs that wait or run.

        Raises
        ------
        SubmitError
            If the command fails.
        """
        printed = self._run(self._of_system().listed)
        matches = map(_NUMBER.match, printed.splitlines())
        return {match[1] for match in matches if match}

    def cancel(self, numbers: Sequence[str]) -> None:
        """Cancel jobs.

        Raises
        ------
        SubmitError
            If the command fails.
        """
        if numbers:
            self._run((*self._of_system().cancel, *numbers))

    def _run(self, command: Sequence[str]) -> str:
        return submit.run(command, b"", self.environ, COMMAND_SECONDS, self.say)

    def _of_system(self) -> Queue:
        system = self.job.system
        if system.queue is None:
            known = ", ".join(one.name for one in SYSTEMS if one.queue)
            raise UsageError(
                f"jobs of {system.title}, which a program cannot follow by number",
                f"one of {known}",
                f"submit them yourself: dask-runner job {system.name} -- join NAME",
            )
        return system.queue
