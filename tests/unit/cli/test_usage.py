"""What is wrong with a command line: the option's name, and what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from dask_runner.cli.commands import cli
from dask_runner.cli.usage import as_usage_error
from dask_runner.launch.options import OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from dask_runner.errors import UsageError


def wrong(*args: str) -> UsageError:
    with pytest.raises(click.ClickException) as caught:
        cli.main(list(args), prog_name="dask-runner", standalone_mode=False)
    return as_usage_error(caught.value, cli.commands.get(args[0], cli.commands["run"]))


@pytest.mark.parametrize(
    ("args", "saw", "needed", "verb"),
    [
        (("--nworker", "2"), "--nworker", "--nworkers", "run"),
        (("--memorylimit", "1"), "--memorylimit", "--memory-limit", "run"),
        (("-n",), "'-n'", "-n N: Local ranks", "run"),
        (("--nanny=3", "x.py"), "'--nanny'", "--nanny, without a value: ", "run"),
        (("--frobnicate",), "--frobnicate", "SCRIPT [ARGS]", "run"),
        (("serve", "--idle-timeout"), "--idle-timeout", "SECONDS: End", "serve"),
        (("stop", "--timeout", "x"), "'x'", "--timeout SECONDS: How", "stop"),
        (("list", "foo"), "(foo)", "dask-runner list [OPTIONS]", "list"),
        (("info", "--foo"), "--foo", "dask-runner info [OPTIONS]", "info"),
    ],
)
def test_an_error_names_the_option_and_what_it_takes(
    args: tuple[str, ...], saw: str, needed: str, verb: str
) -> None:
    error = wrong(*args)

    assert error.status == 2
    assert saw in error.saw
    assert needed in error.needed
    assert error.do == f"list the options: dask-runner {verb} --help"


def test_help_shows_the_options_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"], prog_name="dask-runner", standalone_mode=False)

    shown = capsys.readouterr().out
    for option in OPTIONS:
        assert (f"--{option.name} " in shown) == ("run" in option.verbs), option
    assert "-n, --nranks N" in shown
    assert "SCRIPT [ARGS]" in shown


@pytest.mark.parametrize(
    ("args", "part"),
    [(("help",), "Options of run"), (("help", "stop"), "Usage: dask-runner stop")],
)
def test_help_is_a_verb_where_no_script_has_that_name(
    args: tuple[str, ...],
    part: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)

    cli.main(list(args), prog_name="dask-runner", standalone_mode=False)

    assert part in capsys.readouterr().out
