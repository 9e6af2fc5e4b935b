"""The commands of ``dask-runner``, for click.

The command is also ``dask runner``, so every ``dask`` command loads this module:
imports that take time stand in the functions that need them.

It is long because it has the flags and the help of every verb, and nothing else: what a
verb does is in the module of its name.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dask_runner import __version__, linux
from dask_runner.cli.grammar import (
    ConnectCommand,
    Invocation,
    RunByDefault,
    RunCommand,
    ServeCommand,
    options_of,
)
from dask_runner.cli.job import job
from dask_runner.cli.play import (
    check_working_directory,
    end,
    find_program,
    play_a_rank,
    report,
)
from dask_runner.cli.usage import as_usage_error
from dask_runner.errors import RunnerError, UsageError
from dask_runner.hub.dashboard import LOCAL_PORT
from dask_runner.hub.report import say
from dask_runner.launch.detect import prints_shared_errors
from dask_runner.node.follower import NO_RUN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_runner.node.follower import Beside


@click.group(
    # `dask` lists the command by this name, not by the entry point's.
    "runner",
    cls=RunByDefault,
    context_settings={"help_option_names": ["--help"]},
    epilog="The verb run may be left out: dask-runner -n 4 script.py is dask-runner "
    "run -n 4 script.py. Options of dask-runner come before the script, the script's "
    "own after it. `dask-runner VERB --help` lists the options of another verb.",
)
@click.version_option(__version__, prog_name="dask-runner")
def cli() -> None:
    """Run a program on a Dask cluster of all the ranks that a launcher started."""


@cli.command(cls=RunCommand)
@options_of("run")
@click.pass_obj
def run(invocation: Invocation, /, **given: Any) -> NoReturn:
    """Run SCRIPT once, as the client of a Dask cluster of all ranks.

    Every option is also a key of Dask's configuration under "runner:", and a
    variable such as DASK_RUNNER__TIMEOUT.
    """
    play_a_rank(lambda: find_program(invocation), invocation, given, "run")


@cli.command(cls=ServeCommand)
@options_of("serve")
@click.pass_obj
def serve(invocation: Invocation, /, **given: Any) -> NoReturn:
    """Serve a Dask cluster of all ranks, until it is stopped.

    It ends by `dask-runner stop`, when it is idle or nobody is connected for as long as
    you say, and before its job does. Every option is also a key of Dask's configuration
    under "runner:", and a variable such as DASK_RUNNER__NAME.
    """
    play_a_rank(lambda: None, invocation, given, "serve")


@cli.command(cls=ServeCommand)
@click.argument("name")
@options_of("join")
@click.pass_obj
def join(invocation: Invocation, /, name: str, **given: Any) -> NoReturn:
    """Add the workers of all ranks to the running cluster NAME, until it ends.

    The ranks wait for the cluster if they come before it. They leave in order on
    SIGTERM, by `dask-runner stop NAME --join j1`, and before their own job ends:
    what their workers compute is finished, and their data moved to others. Every option
    is also a key of Dask's configuration under "runner:", and a variable such as
    DASK_RUNNER__NWORKERS.
    """
    play_a_rank(lambda: None, invocation, given, "join", name)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--launcher", default="auto", metavar="NAME", help="As for run.")
def info(*, as_json: bool, launcher: str) -> NoReturn:
    """Show what was detected here, and where each value comes from."""

    def play() -> int:
        from dask_runner.cli.info import collect, table  # noqa: PLC0415  as above

        found = collect(os.environ, launcher)
        if as_json:
            click.echo(json.dumps({"version": 1, "info": found}, indent=1))
        else:
            click.echo(table(found))
        return 0

    end(play, launcher)


@cli.command(hidden=True)
def hosted() -> NoReturn:
    """Play the part of `dask-runner --hosts` on one host; it is not for people."""
    from dask_runner.cli import hosted as far_side  # noqa: PLC0415  as above

    sys.exit(far_side.play())


@cli.command(cls=ConnectCommand)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a cluster that is starting.",
)
@click.pass_obj
def connect(invocation: Invocation, /, *, timeout: float) -> NoReturn:
    """Run SCRIPT as one more client of the running cluster NAME.

    Its Client() is that cluster, and so it is in all that a COMMAND starts: dask-runner
    connect lab -- ipython. NAME may be left out where you have one cluster. A first
    word that is the name of a cluster is the NAME; write ./SCRIPT for a script that is
    called the same.
    """

    def play() -> int:
        from dask_runner.cli import connect as connecting  # noqa: PLC0415  as above

        check_working_directory()
        program = find_program(invocation, "connect")
        name = invocation.name or None
        return connecting.connect(name, program, timeout, os.environ)

    end(play, "none")


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def list_clusters(*, as_json: bool) -> NoReturn:
    """Show your running clusters, and those that do not answer."""

    def play() -> int:
        from dask_runner.cli import list as lists  # noqa: PLC0415  as above

        found = lists.look(os.environ)
        if as_json:
            click.echo(json.dumps(lists.as_json(found), indent=1))
        else:
            click.echo(lists.table(found))
        return 0

    end(play, "none")


@cli.command()
@click.argument("name", required=False)
@click.option("--join", metavar="JOIN", default="", help="Only this join, as j1.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the end.",
)
def stop(*, name: str | None, join: str, timeout: float) -> NoReturn:
    """End the cluster NAME, and wait until all its ranks have left.

    NAME may be left out where you have one cluster.
    """

    def play() -> int:
        from dask_runner.cli import stop as stopping  # noqa: PLC0415  as above

        say(stopping.stop(name, timeout, os.environ, join))
        return 0

    end(play, "none")


@cli.command()
@click.argument("words", nargs=-1, metavar="[NAME] [WORKER|scheduler|agent@NODE]")
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what is written, to the end."
)
def logs(*, words: tuple[str, ...], follow: bool) -> NoReturn:
    """Show the logs of the processes of the running cluster NAME.

    Without a process these are the logs of all, each line behind the name of its
    process. NAME may be left out where you have one cluster.
    """

    def play() -> int:
        from dask_runner.cli import logs as logging  # noqa: PLC0415  as above

        return logging.show(words, os.environ, sys.stdout, follow=follow)

    end(play, "none")


@cli.command()
@click.argument("name", required=False)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help=f"The port on this machine; 0 for any. [default: {LOCAL_PORT}, or the next "
    "free one]",
)
@click.option(
    "--socket",
    "path",
    metavar="PATH",
    help="A Unix socket in place of a port, for all your clusters: for a proxy that "
    "checks who comes, such as JupyterLab's.",
)
@click.option(
    "--prometheus",
    is_flag=True,
    help="Let your own Prometheus server on this machine read the metrics: write files "
    "for its file_sd and credentials_file into ~/.dask-runner.",
)
@click.option(
    "--with-parent",
    is_flag=True,
    help="End with the process that has started this.",
)
def dashboard(
    *,
    name: str | None,
    port: int | None,
    path: str | None,
    prometheus: bool,
    with_parent: bool,
) -> NoReturn:
    """Show the dashboard of the cluster NAME to a browser on this machine.

    It prints a link, for you alone, that works until the cluster ends or you press
    Ctrl-C. NAME may be left out where you have one cluster.
    """

    def play() -> int:
        from dask_runner.cli import dashboard as shows  # noqa: PLC0415  as above

        if with_parent:
            linux.die_with_parent(signal.SIGTERM)
        return shows.show(
            name, port, path, os.environ, click.echo, prometheus=prometheus
        )

    end(play, "none")


@cli.command()
@click.argument("image", required=False)
@click.option("--host", metavar="DIR", help="The host's root; default: /host or /.")
@click.option(
    "--mpi",
    "prefixes",
    metavar="DIR",
    multiple=True,
    help="Prefix of an MPI of the host, such as its module names; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def check(
    *, image: str | None, host: str | None, prefixes: tuple[str, ...], as_json: bool
) -> NoReturn:
    """Show whether the MPI of IMAGE fits this host, why, and what to do.

    IMAGE is a SIF, a file from docker save, an OCI layout or an unpacked root
    directory; default: the image in which this command runs. It only reads files, and
    loads and starts nothing.
    """

    def play() -> int:
        from dask_runner.cli import check as checking  # noqa: PLC0415  as above

        found = checking.check(image, host, prefixes, os.environ)
        if as_json:
            click.echo(json.dumps(checking.as_json(found), indent=1))
        else:
            click.echo(checking.text(found))
        return checking.status(found)

    end(play, "none")


@cli.command()
@click.option("--like-host", is_flag=True, help="Choose what fits this host.")
@click.option("--host", metavar="DIR", help="The host's root; default: /host or /.")
@click.option("--mpi", metavar="FAMILY", help="openmpi, mpich, impi or none.")
@click.option("--mpi-version", metavar="VERSION", help="As 4.1.8.")
@click.option("--pmix", metavar="VERSION", help="Of the site's Slurm, as 5.")
@click.option(
    "--base", metavar="IMAGE", help="The base, as debian:trixie-slim@sha256:..."
)
def recipe(**given: Any) -> NoReturn:
    """Print a definition file whose MPI fits this host, for apptainer build.

    It takes the rest from an image of dask-runner, dask-runner.sif beside it.
    """

    def play() -> int:
        from datetime import UTC, datetime  # noqa: PLC0415  as above

        from dask_runner.cli import recipe as recipes  # noqa: PLC0415  as above
        from dask_runner.cli import site_file  # noqa: PLC0415  as above
        from dask_runner.cli.origin import origin  # noqa: PLC0415  as above

        today = datetime.now(UTC).date()
        chosen, text = recipes.site(recipes.Asked(**given), origin(), today)
        click.echo(text, nl=False)
        for line in site_file.explained(chosen):
            say(line)
        return 0

    end(play, "none")


cli.add_command(job)


def main(args: Sequence[str], beside: Beside | None = None) -> None:
    """Run the command line as a program of its own.

    Parameters
    ----------
    args : sequence of str
    beside : Beside, optional
        The connections to the other ranks of the node.
    """
    try:
        cli.main(list(args), prog_name="dask-runner", standalone_mode=False, obj=beside)
    except click.ClickException as error:
        wrong = as_usage_error(error, cli.commands.get(args[0] if args else "", run))
        if not args or args[0] not in NO_RUN:
            report(wrong, beside, {})
        elif prints_shared_errors(os.environ):
            say(f"error: {wrong}")
        sys.exit(UsageError.status)
    except RunnerError as error:  # from the words of a verb that starts no rank
        say(f"error: {error}")
        sys.exit(error.status)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
