"""A command that submits a job: there or not, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_runner.batch import submit
from dask_runner.batch.systems import BY_NAME, System
from dask_runner.errors import ConfigError, SubmitError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60.0


def system(*commands: tuple[str, ...]) -> System:
    return System("mine", "My system", (), commands, "| mine")


def submitted(
    *commands: tuple[str, ...], environ: dict[str, str] | None = None, **values: str
) -> tuple[str, list[str]]:
    said: list[str] = []
    here = {"PATH": "/usr/bin:/bin"} | (environ or {})
    chain = submit.commands(system(*commands), here)
    printed = submit.submit(chain, b"the script", values, here, SECONDS, said.append)
    return printed, said


def test_it_reads_the_script_and_what_it_prints_is_returned() -> None:
    assert submitted(("cat",)) == ("the script", [])


def test_the_next_command_gets_what_the_one_before_has_printed() -> None:
    printed, said = submitted(
        ("sh", "-c", "cat >/dev/null; echo number 7; echo old >&2"),
        ("echo", "{queue}", "{printed}"),
        queue="lab queue",
    )

    assert printed == "number 7\nlab queue number 7\n"
    assert said == ["old"]


def test_values_are_words_and_no_code() -> None:
    printed, _ = submitted(("echo", "{queue}"), queue="$(id); {printed}")

    assert printed == "$(id); {printed}\n"


def test_it_does_not_get_what_is_of_this_process_and_its_job() -> None:
    rank = {"DASKRUNNER_RANK": "0", "PMI_RANK": "0", "KEPT": "1"}
    job = {"DASKRUNNER_JOB_END_TIME": "99"}

    printed, _ = submitted(("env",), environ=rank | job)

    assert "KEPT=1" in printed
    assert "RANK" not in printed
    assert "DASKRUNNER_JOB_END_TIME" not in printed


def test_a_missing_command_is_told() -> None:
    with pytest.raises(ConfigError, match="no sbatch on the PATH") as caught:
        submit.commands(BY_NAME["slurm"], {"PATH": "/nowhere"})

    assert "| sbatch" in caught.value.do


def test_the_second_command_is_looked_for_before_the_first_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no nosuch"):
        submitted(("touch", str(tmp_path / "ran")), ("nosuch",))

    assert not (tmp_path / "ran").exists()


def test_a_system_that_takes_no_script_from_us_says_how() -> None:
    with pytest.raises(UsageError, match="--submit: OAR") as caught:
        submit.commands(BY_NAME["oar"], {})

    assert "oarsub -S ./job.sh" in caught.value.do


def test_a_command_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(SubmitError) as caught:
        submitted(("sh", "-c", "echo 'no \33[31mpartition' >&2; exit 3"))

    assert caught.value.saw == r"sh ended with status 3" + "\n    no \\x1b[31mpartition"
    assert caught.value.status == 75


def test_a_command_that_is_killed_is_told() -> None:
    with pytest.raises(SubmitError, match="sh ended with signal 9"):
        submitted(("sh", "-c", "kill -9 $$"))


def test_a_command_that_reads_nothing_is_no_fault() -> None:
    assert submitted(("true",)) == ("", [])


def test_one_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    # It hangs by itself, however long this test takes.
    chain = submit.commands(
        system(("sh", "-c", "echo waiting >&2; exec sleep 1000")),
        {"PATH": "/usr/bin:/bin"},
    )

    with pytest.raises(SubmitError, match=r"sh has not ended after 0\.5 s") as caught:
        submit.submit(chain, b"", {}, {"PATH": "/usr/bin:/bin"}, 0.5, print)

    assert "--timeout" in caught.value.do
    assert not list(tmp_path.iterdir())


def test_a_command_that_cannot_start_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/no/such/interpreter\n")
    (tmp_path / "mine").chmod(0o755)
    chain = submit.commands(system(("mine",)), {"PATH": str(tmp_path)})

    with pytest.raises(SubmitError, match="cannot be started: No such file"):
        submit.submit(chain, b"", {}, {}, SECONDS, print)
