"""What bad input gets: one message in three parts, its status, and no ranks left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner
    from tests.running import Ended

USAGE, CONFIG = 2, 78


def one_message(ended: Ended, status: int, word: str) -> None:
    """Check that an error was said once, in three parts, and with its status."""
    assert ended.status == status, ended
    errors = [line for line in ended.stderr.splitlines() if ": error: " in line]
    assert len(errors) == 1, ended
    assert ended.stderr.count("  needed: ") == 1, ended
    assert ended.stderr.count("  you can: ") == 1, ended
    assert word in ended.stderr, ended
    assert "Traceback" not in ended.stderr
    assert not ended.stdout


#: Arguments, status, and a word of the message.
BAD_ARGUMENTS = [
    ([], USAGE, "no program to run"),
    (["-n", "4"], USAGE, "no program to run"),
    (["-m"], USAGE, "-m"),
    (["-c"], USAGE, "-c"),
    (["--"], USAGE, "--"),
    (["--frobnicate", "x.py"], USAGE, "--frobnicate"),
    (["-n", "0", "x.py"], USAGE, "--nranks"),
    (["-n", "-3", "x.py"], USAGE, "--nranks"),
    (["-n", "four", "x.py"], USAGE, "--nranks"),
    (["-n"], USAGE, "-n"),
    (["--timeout", "never", "x.py"], USAGE, "--timeout"),
    (["--layout", "round", "x.py"], USAGE, "--layout"),
    (["--nworkers", "0", "x.py"], USAGE, "--nworkers"),
    (["--launcher", "rocket", "x.py"], USAGE, "rocket"),
    (["--launcher", "slurm", "x.py"], CONFIG, "--launcher slurm"),
    (["-n", "2", "--layout", "dedicated", "-c", "1"], CONFIG, "at least 3 ranks"),
    (["--layout", "dedicated", "-c", "1"], CONFIG, "at least 3 ranks"),
    (["info", "--frobnicate"], USAGE, "--frobnicate"),
    (["-n", "4", "no-such-script.py"], CONFIG, "no-such-script.py"),
    (["no-such-script.py"], CONFIG, "no-such-script.py"),
    (["-n", "4", "."], CONFIG, "is a directory"),
    (["-n", "4", ""], CONFIG, "script"),
    (["-n", "4", "--", "no-such-command"], CONFIG, "no-such-command"),
    (["-n", "2", "--interface", "nope0", "-c", "1"], CONFIG, "nope0"),
    (["-n", "2", "--memory-limit", "much", "-c", "1"], USAGE, "--memory-limit"),
    (["-n", "2", "--memory-limit", "50MiB", "-c", "1"], CONFIG, "50.0 MiB of memory"),
    (["-n", "2", "--worker-class", "no.Such", "-c", "1"], CONFIG, "no.Such"),
    (["-n", "2", "--protocol", "ws", "-c", "1"], CONFIG, "--security none"),
    (["-n", "2", "--protocol", "pigeon", "-c", "1"], CONFIG, "--security none"),
    (
        ["-n", "2", "--protocol", "pigeon", "--security", "none", "-c", "1"],
        CONFIG,
        "pigeon",
    ),
    (["-n", "2", "--preload", "no_such_module", "-c", "1"], CONFIG, "no_such_module"),
    (["-n", "2", "--scheduler-file", "/proc/s.json", "-c", "1"], CONFIG, "/proc"),
    (["-n", "2", "--local-directory", "/proc/x", "-c", "1"], CONFIG, "/proc/x"),
    (["--dashboard-address", "x:y:z", "-c", "1"], USAGE, "--dashboard-address"),
    (["--dashboard-address", "x:1", "-c", "1"], CONFIG, "--dashboard-address"),
    (["--nanny=3", "-c", "1"], USAGE, "--nanny"),
    (["--nworker", "3", "-c", "1"], USAGE, "--nworkers"),
    (["stop", "--timeout", "x"], USAGE, "--timeout SECONDS"),
    (["serve", "-n"], USAGE, "dask-runner serve --help"),
]


@pytest.mark.parametrize(
    ("args", "status", "word"),
    BAD_ARGUMENTS,
    ids=[" ".join(args) or "nothing" for args, _, _ in BAD_ARGUMENTS],
)
def test_bad_arguments(
    dask_runner: DaskRunner, args: list[str], status: int, word: str
) -> None:
    one_message(dask_runner(*args), status, word)


@pytest.mark.parametrize(
    ("variable", "text"),
    [("MEMORY_LIMIT", "4GBB"), ("LAUNCHER", "rocket"), ("QUIET", "maybe")],
)
def test_a_bad_value_in_a_variable_is_a_wrong_configuration(
    dask_runner: DaskRunner, variable: str, text: str
) -> None:
    name = f"DASK_RUNNER__{variable}"
    ended = dask_runner("-n", 2, "-c", "1", env={name: text})

    one_message(ended, CONFIG, f"{name} = {text!r}")


SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}

#: More digits than Python reads.
ENDLESS = "9" * 5000

BAD_VARIABLES = [
    ({**SLURM, "SLURM_PROCID": "7"}, "rank 7 of 4"),
    ({**SLURM, "SLURM_PROCID": "x"}, "SLURM_PROCID"),
    ({**SLURM, "SLURM_PROCID": ""}, "SLURM_PROCID"),
    ({**SLURM, "SLURM_STEP_NUM_TASKS": "0"}, "SLURM_STEP_NUM_TASKS"),
    ({**SLURM, "SLURM_STEP_NUM_TASKS": "4.0"}, "SLURM_STEP_NUM_TASKS"),
    ({"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, "srun "),
    ({**SLURM, "SLURM_STEP_NUM_TASKS": ENDLESS}, "SLURM_STEP_NUM_TASKS is '999"),
    ({"DASKRUNNER_NTASKS": ENDLESS}, "DASKRUNNER_NTASKS is '999"),
    ({"DASK_RUNNER__NRANKS": ENDLESS}, "DASK_RUNNER__NRANKS = '999"),
    ({"DASK_RUNNER__TIMEOUT": "soon"}, "DASK_RUNNER__TIMEOUT"),
    ({"DASK_RUNNER__TIMEUOT": "1"}, "DASK_RUNNER__TIMEUOT"),
    ({"DASK_RUNNER__LAYOUT": "dedicated"}, "at least 3 ranks"),
    ({"DASK_RUNNER__PROTOCOL": "ws"}, "DASK_RUNNER__PROTOCOL"),
]


@pytest.mark.parametrize(
    ("env", "word"), BAD_VARIABLES, ids=[word for _, word in BAD_VARIABLES]
)
def test_bad_variables(dask_runner: DaskRunner, env: dict[str, str], word: str) -> None:
    one_message(dask_runner("-c", "print(1)", env=env), CONFIG, word)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"SLURM_CPUS_PER_TASK": ENDLESS}, "SLURM_CPUS_PER_TASK says '999"),
        ({"PBS_JOBID": "1", "NCPUS": "9" * 20}, ""),
        ({"PBS_JOBID": "1", "NCPUS": ENDLESS}, "NCPUS says '999"),
        ({"OMP_NUM_THREADS": ENDLESS}, ""),
        ({"SLURM_MEM_PER_NODE": ENDLESS}, "SLURM_MEM_PER_NODE says '999"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "".join(value),
)
def test_absurd_shares_are_ignored_with_a_note(
    dask_runner: DaskRunner, env: dict[str, str], said: str
) -> None:
    # Where NumPy is loaded, the number of its threads is read as well.
    code = "import numpy; from distributed import Client; Client().run(abs, 1)"
    ended = dask_runner("-n", 2, "--preload-modules", "numpy", "-c", code, env=env)
    assert ended.status == 0, ended
    notes = [line for line in ended.stderr.splitlines() if "ignored" in line]
    assert [said in note for note in notes] == [True] * bool(said), ended
    assert len(ended.stderr) < 2000


def test_a_bad_variable_is_said_once_with_four_ranks(dask_runner: DaskRunner) -> None:
    env = {"DASK_RUNNER__NTHREADS": "some"}
    one_message(dask_runner("-n", 4, "-c", "1", env=env), CONFIG, "NTHREADS")


def test_a_bad_file_of_dasks_configuration(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    (tmp_path / "dask.yaml").write_text("runner: {timeout: [\n")
    ended = dask_runner("-n", 4, "-c", "1", env={"DASK_CONFIG": str(tmp_path)})
    one_message(ended, CONFIG, str(tmp_path / "dask.yaml"))


def test_a_script_that_may_not_be_read_or_is_no_file(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    loop = tmp_path / "loop.py"
    loop.symlink_to(loop)
    one_message(dask_runner("-n", 4, loop), CONFIG, "symbolic links")


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('here')")
    gone = tmp_path / "gone"
    gone.mkdir()
    line = 'rmdir "$PWD" && exec "$0" "$@"'
    from tests.running import DASK_RUNNER, Run  # noqa: PLC0415

    with Run(("sh", "-c", line, str(DASK_RUNNER), str(script)), cwd=gone) as run:
        ended = run.wait()
        one_message(ended, CONFIG, "working directory is gone")


def test_a_home_that_cannot_be_read_or_written_is_no_obstacle(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    # Not even root can read one that is no directory at all.
    (tmp_path / "home").touch()
    ended = dask_runner(
        "-n", 2, "-c", "print('ran')", env={"HOME": str(tmp_path / "home")}, stray=".*"
    )
    assert ended.status == 0, ended
    assert ended.stdout == "ran\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_standard_streams_are_no_obstacle(
    dask_runner: DaskRunner, tmp_path: Path, closed: str
) -> None:
    from tests.running import DASK_RUNNER, Run  # noqa: PLC0415

    del dask_runner
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()"
    line = f'exec "$0" "$@" {closed}'
    with Run(("sh", "-c", line, str(DASK_RUNNER), "-n", "2", "-c", code)) as run:
        ended = run.wait()
        assert ended.status == 0, ended
        assert mark.exists()


def test_nobody_who_reads_our_lines_is_no_obstacle(dask_runner: DaskRunner) -> None:
    from tests.running import DASK_RUNNER, Run  # noqa: PLC0415

    del dask_runner
    line = '"$0" -c "print(42)" 2>&1 >out | true; cat out; rm out'
    with Run(("sh", "-c", line, str(DASK_RUNNER))) as run:
        assert run.wait().stdout == "42\n"
