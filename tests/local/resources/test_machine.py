"""This machine, as a process of its own sees it."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from dask_runner.resources.machine import take
from tests.users import ordinary

ROOT = Path(__file__).parents[3]


def python(code: str, *before: str) -> str:
    command = [*before, sys.executable, "-c", code]
    environ = os.environ | {"PYTHONPATH": str(ROOT / "runner")}
    result = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout


def test_bound_process_sees_its_cpu_and_its_wider_parent() -> None:
    some = min(os.sched_getaffinity(0))
    code = (
        "import os, json; from dask_runner.resources.machine import Snapshot, take;"
        "from dask_runner.resources.rank_share import cpus;"
        "s = take(os.environ); print(json.dumps([s.cpus, cpus(s, 1).value]))"
    )
    assert json.loads(python(code, "taskset", "-c", str(some))) == [[some], 1]


def test_looking_at_the_machine_imports_no_dask_and_no_numpy() -> None:
    code = (
        "import sys, os; from dask_runner.resources import machine, rank_share;"
        "from dask_runner.resources import scratch, worker_share;"
        "rank_share.rank_share(machine.take(os.environ), 1);"
        "print(sorted({'dask', 'distributed', 'numpy', 'click'} & set(sys.modules)))"
    )
    assert ast.literal_eval(python(code)) == []


def test_a_candidate_that_others_can_take_away_is_none() -> None:
    with ordinary() as path:
        path.chmod(0o777)
        found = take({"TMPDIR": str(path)}, str(path)).directories
        assert found[0].problem == ""
        assert found[0].others == f"{path} can be written by all (mode 0777)"
        assert found[1].problem == f"is open to others: {found[0].others}"


def test_directory_without_permission_is_not_writable() -> None:
    with ordinary() as path:
        path.chmod(0o500)
        assert take({"TMPDIR": str(path)}).directories[0].problem == "is not writable"
