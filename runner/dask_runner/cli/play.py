"""How a verb of the command line plays: as a rank or alone, with one error at its end.

The command ``dask runner`` loads this module, as :mod:`dask_runner.cli.commands` does.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from dask_runner.cli.grammar import BEFORE, GRAMMAR
from dask_runner.errors import ConfigError, RunnerError, UsageError
from dask_runner.hub.report import say
from dask_runner.launch.detect import prints_shared_errors
from dask_runner.launch.settings import configured, of_verb, settle
from dask_runner.node.follower import Beside
from dask_runner.node.importing import without_collecting

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.cli.grammar import Invocation
    from dask_runner.launch.launch import Program


def play_a_rank(
    program: Callable[[], Program | None],
    invocation: Invocation,
    given: dict[str, Any],
    verb: str,
    joins: str = "",
) -> NoReturn:
    """Play the part of a rank, and exit with its status.

    Parameters
    ----------
    program : callable
        Returns the program; None if the cluster has none.
    invocation : Invocation
    given : dict
        The options of the command line.
    verb : str
    joins : str
        The name of the running cluster to join; empty for one of their own.
    """

    def play() -> int:
        check_working_directory()
        settings = settle(given, of_verb(verb, configured(os.environ)))
        # Until a process of ours watches this one. As main, which did not know it yet.
        from dask_runner.node.kill_timer import LAST_STEPS_SECONDS, die_in  # noqa: PLC0415  as below

        die_in(settings.timeout + LAST_STEPS_SECONDS)
        # --help needs no event loop.
        with without_collecting():
            from dask_runner.cli import local  # noqa: PLC0415
            from dask_runner.cli import run as runner  # noqa: PLC0415
            from dask_runner.node import hosted_meeting  # noqa: PLC0415

        hosted_meeting.end_with_parent(os.environ)
        args, beside = invocation.args, invocation.beside
        with local.ends_with_launcher(os.environ):
            return runner.run(program(), settings, os.environ, args, beside, joins)

    waited_for = None if joins else given
    launcher = str(given.get("launcher") or "auto")
    end(play, launcher, invocation.beside, waited_for)


def find_program(invocation: Invocation, verb: str = "run") -> Program:
    """Return the program that the words of the command line name.

    Raises
    ------
    UsageError
        If there are no words.
    """
    from dask_runner.launch.launch import Program  # noqa: PLC0415  as above
    from dask_runner.node.program import descriptors  # noqa: PLC0415  as above

    kind, words = invocation.kind, invocation.words
    if not words:
        raise UsageError(
            f"nothing after the {kind} flag" if kind else "no program to run",
            f"dask-runner {BEFORE[verb]}{GRAMMAR}",
            f"list the options with dask-runner {verb} --help",
        )
    return Program(kind, words[0], tuple(words[1:]), descriptors(words))


def end(
    play: Callable[[], int],
    launcher: str,
    beside: Beside | None = None,
    run: dict[str, Any] | None = None,
) -> NoReturn:
    """Exit with the status of *play*; print its error once for all ranks.

    *run* has the options of ``run``, where other ranks may wait for this one.
    """
    try:
        status = play()
    except RunnerError as error:
        if beside is not None:
            report(error, beside, run, launcher)
        elif prints_shared_errors(os.environ, launcher):
            # All ranks run into this error, so one of them prints it.
            say(f"error: {error}")
        status = error.status
    sys.exit(status)


def report(
    error: RunnerError,
    beside: Beside | None,
    given: dict[str, Any] | None,
    launcher: str = "auto",
) -> None:
    """Report an error that came before the meeting, to the other ranks and the user."""
    from dask_runner.node import early_errors  # noqa: PLC0415  --help needs none of it

    early_errors.report(error, os.environ, given, beside or Beside(), launcher)


def check_working_directory() -> None:
    """Raise a ConfigError if the working directory is gone."""
    try:
        os.getcwd()  # noqa: PTH109  Path.cwd() does the same
    except OSError as error:
        raise ConfigError(
            f"the working directory is gone: {error.strerror}",
            "a working directory that exists on every node",
            "change to one that does; in a container, bind it (apptainer run --bind)",
        ) from error
