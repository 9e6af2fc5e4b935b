"""The tests' own tool notices what it is there to notice."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from tests.running import GONE_SECONDS, Run

Start = Callable[..., Run]


@pytest.fixture
def shell() -> Iterator[Start]:
    runs: list[Run] = []

    def start(line: str, timeout: float = 20, cwd: Path | None = None) -> Run:
        runs.append(Run(("sh", "-c", line), timeout=timeout, cwd=cwd))
        return runs[-1]

    yield start
    for run in runs:
        run.discard()


def test_a_clean_run_tells_its_status_output_and_time(shell: Start) -> None:
    ended = shell("echo out; echo dask-runner: err >&2; exit 3").wait()

    assert (ended.status, ended.stdout, ended.stderr) == (
        3,
        "out\n",
        "dask-runner: err\n",
    )
    assert 0 < ended.seconds < 10


def test_a_status_is_told_as_a_shell_tells_it(shell: Start) -> None:
    assert shell("kill -TERM $$").wait().status == 143


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sleep 60 &", "processes outlive the run.*sleep 60"),
        ("setsid sleep 60 &", "processes outlive the run.*sleep 60"),
        ("touch $TMPDIR/left", "files outlive the run.*tmp/left"),
        ("mkdir $HOME/.left", "files outlive the run.*home/.left"),
        ("touch left", "files outlive the run.*work/left"),
        ("echo Traceback >&2", "not ours on stderr: 'Traceback'"),
    ],
)
def test_what_a_run_leaves_behind_fails_the_test(
    shell: Start, line: str, told: str
) -> None:
    with pytest.raises(pytest.fail.Exception, match=told):
        shell(line).wait()


def test_what_a_test_expects_may_be_left_and_printed(shell: Start) -> None:
    ended = shell("touch report.html; echo ValueError: 7 >&2").wait(
        stray="ValueError: .*", makes=("report.html",)
    )

    assert ended.stderr == "ValueError: 7\n"


def test_a_run_that_does_not_end_fails_the_test_and_is_ended(shell: Start) -> None:
    run = shell("echo begun; setsid sleep 60 & sleep 60", timeout=1)

    with pytest.raises(pytest.fail.Exception, match=r"still running(.|\n)*begun"):
        run.wait()

    assert not run.pids


def test_a_process_may_take_a_moment_to_go(shell: Start) -> None:
    assert shell(f"sleep {GONE_SECONDS / 2} &").wait().status == 0


def test_nothing_of_the_callers_environment_gets_in(
    shell: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("DASK_RUNNER__LAYOUT", "dedicated")

    assert shell("env | grep -c -e SLURM -e DASK_RUNNER__").wait().stdout == "0\n"


def test_a_running_process_is_waited_for_by_what_it_prints(shell: Start) -> None:
    run = shell("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    run.wait_for("ready")
    run.signal(15)

    assert run.wait().status == 5


def test_waiting_for_words_that_never_come_fails_the_test(shell: Start) -> None:
    with pytest.raises(pytest.fail.Exception, match="'ready' not printed"):
        shell("echo other").wait_for("ready")


@pytest.mark.parametrize(
    ("required", "outcome"),
    [
        ("", pytest.skip.Exception),
        ("unit,local", pytest.skip.Exception),
        ("local,images", pytest.fail.Exception),
        ("all", pytest.fail.Exception),
    ],
)
def test_a_missing_system_is_skipped_unless_its_tier_is_required(
    require: Callable[..., AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
    required: str,
    outcome: type[BaseException],
) -> None:
    monkeypatch.setenv("REQUIRE", required)

    with (
        pytest.raises(outcome, match="needs an engine: none answers"),
        require("an engine", "images", "cluster"),
    ):
        raise ConfigError("none answers")


def test_our_own_mistakes_are_no_missing_systems(
    require: Callable[..., AbstractContextManager[None]],
) -> None:
    with pytest.raises(KeyError), require("an engine", "images"):
        raise KeyError("a bug")
