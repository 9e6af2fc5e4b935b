"""How a command line of ``dask-runner`` is read: where our options end.

Every ``dask`` command loads this module, as :mod:`dask_runner.cli.commands`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from dask_runner.launch.options import OPTIONS
from dask_runner.node.follower import Beside

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.launch.options import Option

#: How a program is given.
GRAMMAR = "[OPTIONS] SCRIPT [ARGS]... | -m MODULE [ARGS]... | -c CODE [ARGS]..."
#: What says how, and its kind in our words.
KINDS = {"-m": "module", "-c": "code", "--": "command"}
#: What a verb that takes a program is called before it.
BEFORE = {"run": "", "connect": "connect [NAME] "}
_HELP = ("--help", "--version")


@dataclass(frozen=True, slots=True)
class Invocation:
    """The command line of ``run``, as click's context carries it.

    Attributes
    ----------
    beside : Beside
        The connections to the other ranks of the node.
    kind : str
        The kind of program; empty where there is none.
    words : list of str
        The program and its arguments.
    args : list of str
        All arguments of ``dask-runner``.
    name : str
        The name of a cluster that is before the program; empty where there is none.
    """

    beside: Beside
    kind: str = ""
    words: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    name: str = ""


class RunByDefault(click.Group):
    """``dask-runner script.py`` means ``dask-runner run script.py``."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what the usage line shows; click calls this."""
        del ctx
        return [GRAMMAR, "|", "-- COMMAND [ARGS]...", "|", "VERB [ARGS]..."]

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Show the options of run as well; click calls this."""
        super().format_options(ctx, formatter)
        records = [one.get_help_record(ctx) for one in self.commands["run"].params]
        with formatter.section("Options of run"):
            formatter.write_dl([record for record in records if record])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; click calls this."""
        # A script may have that name, too.
        if args[:1] == ["help"] and not os.path.exists("help"):  # noqa: PTH110  as Python
            args = [*args[1:2], "--help"]
        if not args or (args[0] not in self.commands and args[0] not in _HELP):
            args = ["run", *args]
        return super().parse_args(ctx, args)


class RunCommand(click.Command):
    """A command whose options end where the user's program begins."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what the usage line shows; click calls this."""
        del ctx
        return [GRAMMAR, "|", "-- COMMAND [ARGS]..."]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; click calls this."""
        ours, kind, words = self._split(ctx, args)
        beside = ctx.obj or Beside()
        ctx.obj = Invocation(beside, kind, words, list(args))
        return super().parse_args(ctx, ours)

    def _split(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[list[str], str, list[str]]:
        """Return our options, the kind of the program, and the program's words."""
        valued = {
            name
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and not parameter.is_flag
            for name in parameter.opts
        }
        at = 0
        while at < len(args):
            word = args[at]
            if word in KINDS:
                return args[:at], KINDS[word], args[at + 1 :]
            if not word.startswith("-") or word == "-":
                return args[:at], "script", args[at:]
            at += 2 if word in valued else 1
        return args, "", []


class ConnectCommand(RunCommand):
    """The same, where a cluster's name may come before the program."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what the usage line shows; click calls this."""
        return ["[NAME]", *super().collect_usage_pieces(ctx)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, our options before and after the name; click calls it."""
        from dask_runner.cli.connect import begins_with_name  # noqa: PLC0415  few

        ours, kind, words = self._split(ctx, args)
        name = ""
        if kind == "script" and begins_with_name(words, os.environ):
            name = words[0]
            more, kind, words = self._split(ctx, words[1:])
            ours += more
        ctx.obj = Invocation(ctx.obj or Beside(), kind, words, list(args), name)
        return click.Command.parse_args(self, ctx, ours)


class ServeCommand(click.Command):
    """A command that starts ranks, and has no program."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; click calls this."""
        ctx.obj = Invocation(ctx.obj or Beside(), args=[self.name or "", *args])
        return super().parse_args(ctx, args)


def options_of(
    verb: str,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a verb."""

    def give(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(OPTIONS):
            if verb in option.verbs:
                command = click_option(option)(command)
        return command

    return give


def click_option(
    option: Option,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return an option of a table as click's."""
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
