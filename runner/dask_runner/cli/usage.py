"""What click found wrong with the command line, in three parts, as other errors."""

from __future__ import annotations

import click

from dask_runner.errors import UsageError


def as_usage_error(error: click.ClickException, command: click.Command) -> UsageError:
    """Return an error that names the option, and says what it takes.

    Parameters
    ----------
    error : ClickException
    command : Command
        The one that was meant, where click does not say.
    """
    found = getattr(error, "ctx", None)
    context = found or click.Context(command, info_name=f"dask-runner {command.name}")
    path = context.command_path
    needed = f"{path} {' '.join(context.command.collect_usage_pieces(context))}"
    do = f"list the options: {path} --help"
    if isinstance(error, click.NoSuchOption):
        likely = error.possibilities or ()
        if likely:
            needed = f"one of {', '.join(likely)}" if len(likely) > 1 else likely[0]
        return UsageError(f"there is no option {error.option_name}", needed, do)
    name = getattr(error, "option_name", "")
    option = getattr(error, "param", None) or _named(context.command, name)
    if isinstance(option, click.Option):
        takes = f" {option.metavar}" if option.metavar else ", without a value"
        needed = f"{name or option.opts[0]}{takes}: {option.help}"
    return UsageError(error.format_message().rstrip("."), needed, do)


def _named(command: click.Command, name: str) -> click.Parameter | None:
    for one in command.params:
        if name and name in (*one.opts, *one.secondary_opts):
            return one
    return None
