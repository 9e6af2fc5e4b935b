"""The limit of open files: raised for our processes, not for what they start."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from tests.programs import SCRIPTS, clean
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from tests.running import Ended

#: Begins with a limit, as a user's shell may have it.
LIMITED = 'ulimit -Sn "$0" && exec "$@"'


LIMITS = SCRIPTS / "limits.py"
CROWD = SCRIPTS / "crowd.py"


def limited(limit: int, *args: object, timeout: float = 300) -> Ended:
    words = ("sh", "-c", LIMITED, str(limit), str(DASK_RUNNER), *map(str, args))
    with Run(words, timeout=timeout) as run:
        return run.wait(stray=".*")


def test_what_tasks_and_the_script_start_has_the_users_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    ended = clean(limited(123, "-n", 2, LIMITS))
    said = dict(
        line.split(" ", 1) for line in ended.stdout.splitlines() if "below" not in line
    )
    assert said.pop("nannies").split() == [said["task"]] * 2
    assert said == {"script": "123", "task": said["task"], "scheduler": said["task"]}
    assert 123 < int(said["task"]) <= hard
    below = [line for line in ended.stdout.splitlines() if "below" in line]
    ways = (
        "{'shell': 123, 'spawned': 123, 'with a function': 123, 'system': 123, "
        "'bytes': 123, 'forked': 123, 'many': {123}, 'busy': 123, 'chosen': 777}"
    )
    assert below == [
        "below the script ['123', '777', '{123}']",
        f"below a task {ways}",
        f"below the scheduler {ways}",
    ]


def test_a_worker_without_a_nanny_and_a_command_have_the_users_limit_below() -> None:
    ended = limited(123, "--no-nanny", "--nworkers", 2, LIMITS)
    # Two of them are in one process: what is lowered once stays so.
    assert "below a task {'shell': 123" in ended.stdout, ended
    command = clean(limited(123, "--", "sh", "-c", "ulimit -Sn"))
    assert command.stdout == "123\n"


def crowd(limit: int, count: int) -> None:
    ended = limited(limit, "--no-dashboard", CROWD, count, timeout=600)
    total = 4 * count
    assert ended.status == 0, ended
    assert ended.stdout.splitlines() == [
        "each True",
        f"sum {total * (total - 1) // 2}",
        f"broadcast {count + 1}",
        "direct True",
    ]
    assert "Too many open files" not in ended.stderr, ended


def test_more_workers_than_the_users_limit_has_files_for() -> None:
    crowd(limit=120, count=60)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_four_hundred_workers_with_the_usual_limit() -> None:
    crowd(limit=1024, count=400)
