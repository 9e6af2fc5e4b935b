"""The command line: ``dask-runner [run] [OPTIONS] SCRIPT [ARGS]…`` and ``info``.

It is also ``dask runner``, so every ``dask`` command loads this module: it imports
nothing heavy at the top.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dask_runner import __version__
from dask_runner.errors import ConfigError, RunnerError, UsageError
from dask_runner.hub.report import say
from dask_runner.launch.detect import prints_shared_errors
from dask_runner.launch.options import OPTIONS
from dask_runner.launch.settings import configured, settle
from dask_runner.node.follower import NO_RUN, Beside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dask_runner.launch.options import Option

_GRAMMAR = "[OPTIONS] SCRIPT [ARGS]... | -m MODULE [ARGS]... | -c CODE [ARGS]..."
_KINDS = {"-m": "module", "-c": "code", "--": "command"}
_HELP = ("--help", "--version")


class _RunByDefault(click.Group):
    """``dask-runner script.py`` means ``dask-runner run script.py``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in _HELP):
            args = ["run", *args]
        return super().parse_args(ctx, args)


class _RunCommand(click.Command):
    """Our options end where the user's program begins, whatever follows it."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        del ctx
        return [_GRAMMAR, "|", "-- COMMAND [ARGS]..."]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ours, program = self._split(ctx, args)
        ctx.obj = {"program": program, "args": list(args), "beside": ctx.obj}
        return super().parse_args(ctx, ours)

    def _split(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[list[str], tuple[str, list[str]] | None]:
        valued = {
            name
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and not parameter.is_flag
            for name in parameter.opts
        }
        at = 0
        while at < len(args):
            word = args[at]
            if word in _KINDS:
                return args[:at], (_KINDS[word], args[at + 1 :])
            if not word.startswith("-") or word == "-":
                return args[:at], ("script", args[at:])
            at += 2 if word in valued else 1
        return args, None


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        command = _click_option(option)(command)
    return command


def _click_option(
    option: Option,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    if not option.metavar:
        return click.option(
            f"--{option.name}/--no-{option.name}",
            option.key,
            default=None,
            help=f"{option.help} [default: {str(option.default).lower()}]",
        )
    names = [f"--{option.name}", *filter(None, [option.short])]
    shown = "" if option.default in (None, ()) else f" [default: {option.default}]"
    return click.option(
        *names,
        option.key,
        metavar=option.metavar,
        multiple=option.multiple,
        help=option.help + shown,
    )


@click.group(
    # Dask takes this name, and not the entry point's.
    "runner",
    cls=_RunByDefault,
    context_settings={"help_option_names": ["--help"]},
    epilog="Without a command it is run: dask-runner -n 4 script.py. "
    "`dask-runner run --help` lists its options.",
)
@click.version_option(__version__, prog_name="dask-runner")
def cli() -> None:
    """Run a program on a Dask cluster made of all the tasks that srun started."""


@cli.command(cls=_RunCommand)
@_options
@click.pass_obj
def run(obj: dict[str, Any], /, **given: Any) -> NoReturn:
    """Run SCRIPT once, as the client of a Dask cluster of all ranks.

    Every option is also a key of Dask's configuration under "runner:", and a
    variable such as DASK_RUNNER__TIMEOUT.
    """

    def play() -> int:
        # --help needs no event loop.
        from dask_runner.cli import local  # noqa: PLC0415
        from dask_runner.cli import run as runner  # noqa: PLC0415

        _check_working_directory()
        local.follow(os.environ)
        settings = settle(given, configured(os.environ))
        program, args = _program(obj["program"]), obj["args"]
        return runner.run(program, settings, os.environ, args, beside)

    beside = obj["beside"] or Beside()
    _end(play, str(given.get("launcher") or "auto"), beside, given)


def _program(found: tuple[str, list[str]] | None) -> Any:
    from dask_runner.launch.launch import Program  # noqa: PLC0415  as above
    from dask_runner.node.program import descriptors  # noqa: PLC0415  as above

    kind, words = found or ("script", [])
    if not words:
        raise UsageError(
            "no program to run" if found is None else f"nothing after the {kind} flag",
            f"dask-runner {_GRAMMAR}",
            "list the options with dask-runner run --help",
        )
    return Program(kind, words[0], tuple(words[1:]), descriptors(words))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--launcher", default="auto", metavar="NAME", help="As for run.")
def info(*, as_json: bool, launcher: str) -> NoReturn:
    """Tell what was detected here, each value with where it came from."""

    def play() -> int:
        from dask_runner.cli.info import collect, table  # noqa: PLC0415  as above

        found = collect(os.environ, launcher)
        if as_json:
            click.echo(json.dumps({"version": 1, "info": found}, indent=1))
        else:
            click.echo(table(found))
        return 0

    _end(play, launcher)


@cli.command()
@click.argument("image", required=False)
@click.option("--host", metavar="DIR", help="The host's root; default: /host or /.")
@click.option(
    "--mpi",
    "prefixes",
    metavar="DIR",
    multiple=True,
    help="Prefix of an MPI of the host, as its module names it; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def check(
    *, image: str | None, host: str | None, prefixes: tuple[str, ...], as_json: bool
) -> NoReturn:
    """Tell whether the MPI of IMAGE fits this host, why, and what to do.

    IMAGE is a SIF, a file from docker save, an OCI layout, or an unpacked root;
    without it, the image in which this runs. Files are read, nothing is loaded or
    started.
    """

    def play() -> int:
        from dask_runner.cli import check as checking  # noqa: PLC0415  as above

        report = checking.check(image, host, prefixes, os.environ)
        if as_json:
            click.echo(json.dumps(checking.as_json(report), indent=1))
        else:
            click.echo(checking.text(report))
        return checking.status(report)

    _end(play, "none")


@cli.command()
@click.option("--like-host", is_flag=True, help="Choose what fits this host.")
@click.option("--host", metavar="DIR", help="The host's root; default: /host or /.")
@click.option("--mpi", metavar="FAMILY", help="openmpi, mpich, impi or none.")
@click.option("--mpi-version", metavar="VERSION", help="As 4.1.8.")
@click.option("--pmix", metavar="VERSION", help="Of the site's Slurm, as 5.")
@click.option(
    "--checkout",
    metavar="DIR",
    default=".",
    show_default=True,
    help="Where recipes/dask-runner.def is, and what it builds from.",
)
def recipe(**given: Any) -> NoReturn:
    """Print a definition file whose MPI fits this host, for apptainer build."""

    def play() -> int:
        from dask_runner.cli import recipe as recipes  # noqa: PLC0415  as above

        chosen, text = recipes.site(**given)
        click.echo(text, nl=False)
        for line in recipes.explained(chosen):
            say(line)
        return 0

    _end(play, "none")


def _end(
    play: Callable[[], int],
    launcher: str,
    beside: Beside | None = None,
    run: dict[str, Any] | None = None,
) -> NoReturn:
    """End with the status of *play*; *run* are the options of what others wait for."""
    try:
        status = play()
    except RunnerError as error:
        if run is not None:
            _tell(error, beside, run)
        elif prints_shared_errors(os.environ, launcher):
            # All ranks see this error alike, so one of them says it.
            say(f"error: {error}")
        status = error.status
    sys.exit(status)


def _tell(error: RunnerError, beside: Beside | None, given: dict[str, Any]) -> None:
    from dask_runner.node import outset  # noqa: PLC0415  --help needs none of it

    outset.tell(error, os.environ, given, beside or Beside())


def _check_working_directory() -> None:
    try:
        os.getcwd()  # noqa: PTH109  Path.cwd() is no shorter
    except OSError as error:
        raise ConfigError(
            f"the working directory is gone: {error.strerror}",
            "a working directory that exists on every node",
            "change to one that does; in a container, bind it (apptainer run --bind)",
        ) from error


def main(args: Sequence[str], beside: Beside | None = None) -> None:
    """Run the command line as a program of its own.

    Parameters
    ----------
    args : sequence of str
    beside : Beside, optional
        What this process has to do with the other ranks of its node.
    """
    try:
        cli.main(list(args), prog_name="dask-runner", standalone_mode=False, obj=beside)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "dask-runner"
        wrong = UsageError(
            error.format_message().rstrip("."),
            f"{path} and options that it has",
            f"list them with {path} --help",
        )
        if not args or args[0] not in NO_RUN:
            _tell(wrong, beside, {})
        elif prints_shared_errors(os.environ):
            say(f"error: {wrong}")
        sys.exit(UsageError.status)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
