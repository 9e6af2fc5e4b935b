"""Have Slurm queue the job again, when the cluster has ended before its time limit.

``scontrol requeue`` does that, and kills what is left of the job. It is on a node, but
not in an image. A job script of ``dask-runner job slurm`` runs outside of the image,
and names a file by a variable; it calls ``scontrol`` at its end if the file is there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub.durations import in_words
from dask_runner.launch.own_variables import REQUEUE_VARIABLE, inherited
from dask_runner.launch.walltime import end_time
from dask_runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.launch import Launch

#: Seconds that ``scontrol`` may take. Slurm's own commands give up after some more.
SCONTROL_SECONDS = 20.0
#: Seconds for a process that was killed to be gone.
_GONE_SECONDS = 1.0

_BY_JOB_SCRIPT = (
    "make the job script with dask-runner job slurm -- --requeue-before SECONDS, or "
    "write in your own what that has; or leave --requeue-before out"
)


class Requeue(ABC):
    """A way to have the job queued again."""

    @abstractmethod
    def check(self) -> None:
        """Raise ConfigError if it will not work."""

    @abstractmethod
    def ask(self) -> None:
        """Ask for it; RunnerError if that is in vain."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What happens now."""


@dataclass(frozen=True)
class ByJobScript(Requeue):
    """The job script looks for a file at its end."""

    path: Path

    def check(self) -> None:
        """Raise ConfigError if the file could not be written."""
        directory = self.path.parent
        if not (self.path.is_absolute() and os.access(directory, os.W_OK | os.X_OK)):
            raise ConfigError(
                f"{REQUEUE_VARIABLE} is {self.path}, where no file can be written",
                "a file in a directory of yours that all nodes share",
                _BY_JOB_SCRIPT,
            )
        if os.path.lexists(self.path):
            raise ConfigError(
                f"{self.path} is there already",
                f"a file that nobody has written yet, as {REQUEUE_VARIABLE}",
                f"remove it at the job script's beginning: rm -f {self.path}",
            )

    def ask(self) -> None:
        """Write the file."""
        try:
            # Nobody else's file or link, and nobody else reads it.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            os.close(os.open(self.path, flags, 0o600))
        except OSError as error:
            raise RunnerError(
                f"the job script is not told to queue the job again: {self.path}: "
                f"{error.strerror}"
            ) from error

    @property
    def words(self) -> str:
        """What happens now."""
        return "the job script queues the job again"


@dataclass(frozen=True)
class ByScontrol(Requeue):
    """The command ``scontrol``, where it is."""

    scontrol: str
    job: str
    environ: Mapping[str, str]

    def check(self) -> None:
        """Raise ConfigError if Slurm says that it would refuse."""
        try:
            text = self._run("show", "job", "--oneliner", self.job)
        except TimeoutError:
            return  # a busy server may answer when it is time
        except RunnerError as error:
            raise ConfigError(
                error.saw, "an scontrol that works here", _BY_JOB_SCRIPT
            ) from error
        if re.search(r"\bBatchFlag=0\b", text):
            raise ConfigError(
                f"--requeue-before, but job {self.job} has no job script, so Slurm "
                "does not queue it again",
                "a job of sbatch",
                "start it anew: dask-runner job slurm -- ARGUMENTS | sbatch",
            )
        if re.search(r"\bRequeue=0\b", text):
            raise ConfigError(
                f"--requeue-before, but Slurm is not to queue job {self.job} again",
                "a job that may be queued again",
                "give sbatch --requeue",
            )

    def ask(self) -> None:
        """Ask Slurm, which then kills this process."""
        try:
            self._run("requeue", self.job)
        except TimeoutError as error:
            raise RunnerError(str(error)) from error

    def _run(self, *words: str) -> str:
        name = " ".join(("scontrol", *words))
        try:
            process = subprocess.Popen(
                (self.scontrol, *words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=inherited(self.environ, {}),
                start_new_session=True,
            )
        except OSError as error:
            raise RunnerError(
                f"{self.scontrol} cannot be started: {error.strerror}"
            ) from error
        with process:
            try:
                said, _ = process.communicate(timeout=SCONTROL_SECONDS)
            except subprocess.TimeoutExpired:
                # With what it may have started, which would keep the pipe open.
                os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=_GONE_SECONDS)
                raise TimeoutError(
                    f"{name} has not ended after {SCONTROL_SECONDS:g} s"
                ) from None
        text = said.decode(errors="replace").strip()
        # Slurm kills a job that it queues again, and scontrol may be part of it.
        if process.returncode > 0:
            lines = "; ".join(printable(line) for line in text.splitlines()[-3:])
            raise RunnerError(f"{name} ended with status {process.returncode}: {lines}")
        return text

    @property
    def words(self) -> str:
        """What happens now."""
        return f"Slurm queues job {self.job} again (scontrol requeue {self.job})"


def choose(launch: Launch) -> Requeue | None:
    """Return how the job is queued again; None if nobody asks for that.

    Raises
    ------
    ConfigError
        If it cannot be.
    """
    before, environ = launch.settings.requeue_before, launch.environ
    if before is None:
        return None
    asked = f"--requeue-before {before:g}"
    if "SLURM_JOB_ID" not in environ:
        raise ConfigError(
            f"{asked}, and this is no job of Slurm's",
            "a job of sbatch, which Slurm can queue again",
            "leave it out, or make a job: dask-runner job slurm -- ARGUMENTS | sbatch",
        )
    _refuse_late(asked, before, end_time(environ))
    if path := environ.get(REQUEUE_VARIABLE):
        return ByJobScript(Path(path))
    scontrol = shutil.which("scontrol", path=environ.get("PATH", os.defpath))
    if scontrol is None:
        raise ConfigError(
            f"{asked}, and there is no scontrol on the PATH here",
            "scontrol, or a job script that queues the job again",
            _BY_JOB_SCRIPT,
        )
    return ByScontrol(scontrol, environ["SLURM_JOB_ID"], environ)


def _refuse_late(asked: str, before: float, ends_at: float | None) -> None:
    if ends_at is None:
        raise ConfigError(
            f"{asked}, and the job has no time limit, or nothing tells when it ends",
            "a time limit, and SLURM_JOB_END_TIME, which srun sets since Slurm 22.05",
            "give the job a time (--time), start the ranks with srun, or leave it out",
        )
    left = ends_at - time.time()
    if left <= before:
        # Each run would end at once and be queued again, without end.
        raise ConfigError(
            f"{asked}, and the job ends in {in_words(max(left, 0.0))}",
            "a time in which the script can run",
            "give the job more time (--time), or a smaller number",
        )
