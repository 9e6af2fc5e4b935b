"""Hand a job script to a batch system's own command, and say what became of it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from string import Formatter
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, SubmitError, UsageError
from dask_runner.launch.own_variables import END_VARIABLE, inherited
from dask_runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask_runner.batch.systems import System

#: Lines of a command's words that a message shows.
_SHOWN = 20


def commands(system: System, environ: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the commands that submit a job script, the first words as paths.

    Raises
    ------
    UsageError
        If the system takes no job script but one in a file.
    ConfigError
        If a command is not on the PATH.
    """
    if not system.submit:
        raise UsageError(
            f"--submit: {system.title} takes job scripts from files alone",
            "a job script in a file, which is there when the job starts",
            f"dask-runner job {system.name} ... {system.by_hand}",
        )
    found = []
    for name, *words in system.submit:
        path = shutil.which(name, path=environ.get("PATH", os.defpath))
        if path is None:
            raise ConfigError(
                f"there is no {name} on the PATH here",
                f"the command that submits jobs of {system.title}, as on a login node",
                f"leave --submit out, and submit what is printed, outside of the "
                f"image: dask-runner job {system.name} ... {system.by_hand}",
            )
        found.append((path, *words))
    return found


def needed(system: System) -> set[str]:
    """Return the variables that the words of its commands need."""
    words = [word for command in system.submit for word in command]
    names = {name for word in words for _, name, _, _ in Formatter().parse(word)}
    return {name for name in names if name} - {"printed"}


def submit(
    chain: Sequence[tuple[str, ...]],
    script: bytes,
    values: Mapping[str, str],
    environ: Mapping[str, str],
    timeout: float,
    say: Callable[[str], object],
) -> str:
    """Run the commands one after the other, and return what they have printed.

    Parameters
    ----------
    chain : sequence of tuple of str
        The commands. ``{NAME}`` in a word is a value, and ``{printed}`` what the
        command before has printed.
    script : bytes
        What the first reads on its standard input.
    values : mapping
    environ : mapping
        The commands get it without what belongs to a rank or to this job: a job's own
        ranks would take it for theirs.
    timeout : float
        Seconds for each command.
    say : callable
        Gets what a command that did not fail has said on its standard error.

    Raises
    ------
    SubmitError
        If a command fails, or does not end in time.
    """
    printed, said = "", []
    for words in chain:
        command = [word.format(**values, printed=printed.strip()) for word in words]
        printed = run(command, script, environ, timeout, say)
        said.append(printed)
        script = b""
    return "".join(said)


def _for_another_job(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a job's command, without what is this job's own."""
    kept = inherited(environ, {})
    kept.pop(END_VARIABLE, None)
    return kept


def run(
    command: Sequence[str],
    script: bytes,
    environ: Mapping[str, str],
    timeout: float,
    say: Callable[[str], object],
) -> str:
    """Run one command of a batch system, and return what it prints; as :func:`submit`.

    Raises
    ------
    SubmitError
        If it fails, or does not end in time.
    """
    name = os.path.basename(command[0])  # noqa: PTH119  a word of a command line
    try:
        done = subprocess.run(
            command,
            input=script,
            env=_for_another_job(environ),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SubmitError(
            f"{name} has not ended after {timeout:g} s{_words(error.stderr)}",
            "a batch system that answers",
            "look whether the job is queued before you try again; give it more time "
            "with --timeout SECONDS",
        ) from None
    except OSError as error:
        raise SubmitError(
            f"{command[0]} cannot be started: {error.strerror}",
            "a command of the batch system",
            f"try it by hand: {shlex.join(command)}",
        ) from error
    if done.returncode:
        status = done.returncode
        how = f"status {status}" if status > 0 else f"signal {-status}"
        raise SubmitError(
            f"{name} ended with {how}{_words(done.stderr or done.stdout)}",
            "a job that the batch system accepts",
            "correct what it complains of; see the job script: dask-runner job",
        )
    if warning := done.stderr.decode(errors="replace").strip():
        say("\n".join(map(printable, warning.splitlines())))
    return done.stdout.decode(errors="replace")


def _words(said: bytes | None) -> str:
    lines = (said or b"").decode(errors="replace").strip().splitlines()[-_SHOWN:]
    return "".join(f"\n    {printable(line)}" for line in lines)
