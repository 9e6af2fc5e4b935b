"""``dask-runner job``: print a job script for a batch system, or submit it.

It only prints, so it works inside an image, where no command of the batch system is.
Every ``dask`` command loads this module, as :mod:`dask_runner.cli.commands`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dask_runner.batch.options import OPTIONS
from dask_runner.batch.systems import SYSTEMS
from dask_runner.cli.grammar import click_option
from dask_runner.cli.play import end
from dask_runner.cli.usage import as_usage_error
from dask_runner.errors import SubmitError, UsageError
from dask_runner.hub.report import say
from dask_runner.launch.settings import for_jobs, of_verb, only_fixed, settle
from dask_runner.node.follower import NO_RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask_runner.launch.settings import Settings

USAGE = "dask-runner job SYSTEM [OPTIONS] -- ARGUMENTS OF DASK-RUNNER"
_NAMES = ", ".join(system.name for system in SYSTEMS)


class JobCommand(click.Command):
    """A command whose options end where the job's command line begins."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what the usage line shows; click calls this."""
        del ctx
        return ["SYSTEM", "[OPTIONS]", "--", "ARGUMENTS OF DASK-RUNNER"]


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        command = click_option(option)(command)
    return command


@click.command(
    cls=JobCommand,
    epilog=f"SYSTEM is one of {_NAMES}. Each option is also a key below runner.job, or "
    "below runner.job.SYSTEM, in Dask's configuration.",
)
@click.argument("name", metavar="SYSTEM")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@_options
@click.option(
    "--set",
    "extra",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another variable of the template; may be repeated.",
)
@click.option(
    "--no-image",
    is_flag=True,
    help="Run the dask-runner that is on the PATH of the job.",
)
@click.option(
    "--show-template",
    is_flag=True,
    help="Print the template in place of a job script, as a start for your own.",
)
@click.option(
    "--submit",
    is_flag=True,
    help="Submit the job script with the command of the system, which has to be here.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long that command may take.",
)
@click.pass_context
def job(
    context: click.Context,
    /,
    *,
    name: str,
    args: tuple[str, ...],
    extra: tuple[str, ...],
    no_image: bool,
    show_template: bool,
    submit: bool,
    timeout: float,
    **given: Any,
) -> NoReturn:
    """Print a job script for SYSTEM, in which dask-runner runs with these ARGUMENTS.

    dask-runner job slurm -N 4 --time 1:00:00 -- serve --name lab | sbatch. It starts
    and writes nothing, unless you add --submit.
    """
    group = context.parent.command if context.parent else None
    verbs = group.commands if isinstance(group, click.Group) else {}

    def play() -> int:
        # --help and other verbs need no templates.
        from dask_runner.batch import job_script  # noqa: PLC0415

        system = job_script.system_of(name)
        asked = job_script.Job(system, args, given, extra, no_image)
        site = for_jobs(os.environ)
        if show_template:
            text = job_script.template(asked, site, os.environ)
        else:
            settings = check(args, verbs)
            asked = replace(asked, requeues=settings.requeue_before is not None)
            if submit:
                text = job_script.submitted(asked, site, os.environ, timeout, say)
            else:
                text = job_script.make(asked, site, os.environ)
        write(text)
        return 0

    end(play, "none")


def write(text: bytes) -> None:
    """Print a text, to its end.

    Raises
    ------
    SubmitError
        If nobody reads it, or the disk is full.
    """
    try:
        # Nothing stays in a buffer, about which Python would complain at its end.
        while text:
            text = text[os.write(sys.stdout.fileno(), text) :]
    except OSError as error:
        raise SubmitError(
            f"the job script cannot be printed: {error.strerror}",
            "a command that reads it, such as sbatch, or a file",
            "look at what that command says, or leave it out to see the job script",
        ) from error


def check(args: Sequence[str], verbs: Mapping[str, click.Command]) -> Settings:
    """Refuse what would fail as soon as the job starts, which may be days later.

    Parameters
    ----------
    args : sequence of str
        What follows ``dask-runner`` in the job.
    verbs : mapping
        The commands of ``dask-runner``, by name.

    Returns
    -------
    Settings
        The options among them.

    Raises
    ------
    UsageError
        If they do not start ranks, or an option is wrong.
    """
    if not args:
        raise UsageError(
            "nothing to run in the job",
            USAGE,
            "write -- serve --name lab, or -- script.py, after the options",
        )
    if args[0] in NO_RUN:
        raise UsageError(
            f"dask-runner {args[0]} in a job",
            "a program to run, or serve",
            "run it yourself: it needs no job",
        )
    verb, rest = (args[0], args[1:]) if args[0] in verbs else ("run", args)
    command = verbs[verb]
    try:
        found = command.make_context(f"dask-runner {verb}", list(rest))
    except click.ClickException as error:
        raise as_usage_error(error, command) from None
    settings = settle(found.params, of_verb(verb, only_fixed(os.environ)))
    if verb == "run" and not found.obj.words:
        raise UsageError(
            "no program to run in the job",
            "a script, -m MODULE, -c CODE or -- COMMAND after the options",
            "write -- script.py, or -- -- COMMAND",
        )
    return settings
