"""A run below a run, and what of it reaches the script."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dask_runner.launch.own_variables import (
    CLUSTER_VARIABLE,
    DIRECTORY_VARIABLE,
    LAUNCH_VARIABLE,
    OWN_VARIABLES,
)
from tests.programs import clean, script
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner


def test_a_cluster_without_tls_runs_below_one_that_has_it(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(
        tmp_path,
        f"""
        import subprocess
        from distributed import Client

        inner = (
            "from distributed import Client; client = Client();"
            "print(client.scheduler.address, client.submit(abs, -1).result())"
        )
        line = ["{DASK_RUNNER}", "--quiet", "--security", "none"]
        for words in (["-c", inner], ["--", "{sys.executable}", "-c", inner]):
            print(subprocess.run([*line, *words], check=True).returncode, flush=True)

        def nested():
            done = subprocess.run([*line, "-c", inner], capture_output=True, text=True)
            return done.stdout

        print(Client().submit(nested).result(), Client().scheduler.address)
        """,
    )
    said = clean(dask_runner(path)).stdout.split()
    assert [word.partition("//")[0] for word in said] == [
        *("tcp:", "1", "0", "tcp:", "1", "0", "tcp:", "1", "tls:")
    ]


def test_what_asks_for_encryption_is_the_users_own_word(
    dask_runner: DaskRunner,
) -> None:
    user = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}
    ended = dask_runner("--security", "none", "-c", "pass", env=user)
    assert ended.status == 78
    assert "encryption required by Dask configuration" in ended.stderr


def test_what_is_a_local_ranks_own_reaches_no_script(dask_runner: DaskRunner) -> None:
    code = (
        "import os; from distributed import Client;"
        f"own = lambda: sorted({set(OWN_VARIABLES)} & os.environ.keys());"
        "print(own(), Client().submit(own).result())"
    )
    # A script knows which cluster is its own; its tasks are not that program.
    told = f"{[CLUSTER_VARIABLE, LAUNCH_VARIABLE]} []\n"
    assert clean(dask_runner("-n", 2, "-c", code)).stdout == told
    assert DIRECTORY_VARIABLE in OWN_VARIABLES


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-n", "true"], check=False).returncode != 0,
    reason="needs a network namespace: run the tests as root",
)
def test_without_loopback_the_reason_is_said_once() -> None:
    args = ("unshare", "-n", str(DASK_RUNNER), "-n", "2", "-c", "pass")
    with Run(args) as run:
        ended = run.wait()
    assert ended.status == 75
    assert ended.stderr.count("cannot reach its own hub") == 1, ended
