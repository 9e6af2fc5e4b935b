"""The command line of a job is read before the job waits in a queue."""

from __future__ import annotations

import pytest

from dask_runner.cli.commands import cli
from dask_runner.cli.job import check
from dask_runner.errors import UsageError


@pytest.mark.parametrize(
    "args",
    [
        ["script.py"],
        ["run", "--nworkers", "2", "script.py", "--no-such-option"],
        ["serve", "--name", "lab"],
        ["-m", "module"],
        ["--", "sh", "-c", "exit 3"],
        ["-"],
    ],
)
def test_what_starts_ranks_is_taken(args: list[str]) -> None:
    check(args, cli.commands)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "nothing to run"),
        (["list"], "dask-runner list in a job"),
        (["--help"], "dask-runner --help in a job"),
        (["job", "slurm"], "dask-runner job in a job"),
        (["serve", "--nwrkers", "2"], "no option --nwrkers"),
        (["serve", "--name", "a b"], "--name = 'a b'"),
        (["serve", "script.py"], "unexpected extra argument"),
        (["--nworkers", "2"], "no program to run"),
        (["run"], "no program to run"),
        (["-m"], "no program to run"),
        (["--nworkers", "x", "script.py"], "--nworkers = 'x'"),
    ],
)
def test_what_would_fail_in_the_job_is_told_now(args: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        check(args, cli.commands)

    assert caught.value.needed
    assert caught.value.do
