"""What ``dask-runner info`` shows."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from dask_runner.cli.info import collect, table

if TYPE_CHECKING:
    from pathlib import Path


def test_people_read_memory_with_a_unit_and_programs_in_bytes() -> None:
    found = collect({}, "none")
    (line,) = (line for line in table(found).splitlines() if "  memory  " in line)

    assert int(found["resources"]["memory"]["value"]) > 0
    assert re.match(r"  memory +\d+\.\d [KMG]iB  \(", line), line


def test_it_says_what_becomes_of_the_memory() -> None:
    found = collect({"DASK_RUNNER__NWORKERS": "2"}, "none")["resources"]
    given, taken, each = (
        int(found[f"memory {what}"]["value"]) for what in ("given", "taken", "a worker")
    )
    memory = int(found["memory"]["value"])

    assert given - taken == memory
    assert 0 <= memory - 2 * each <= 256 << 20
    assert found["memory a worker"]["source"].startswith("each of 2; ")


def test_it_says_where_a_cluster_has_its_name_or_why_it_has_none(
    tmp_path: Path,
) -> None:
    def directory(**environ: str) -> dict[str, str]:
        return collect(environ, "none")["clusters"]["directory"]

    assert directory(HOME=str(tmp_path)) == {
        "value": f"{tmp_path}/.dask-runner",
        "source": "HOME",
    }
    assert "HOME is not set: nothing can attach" in directory()["source"]
    (tmp_path / "file").touch()
    assert "cannot be written" in directory(HOME=str(tmp_path / "file"))["source"]


def test_it_says_when_the_job_ends_and_what_tells_it() -> None:
    def ends(**environ: str) -> dict[str, str]:
        return collect(environ, "none")["launch"]["job ends"]

    assert ends(DASKRUNNER_JOB_END_TIME="86400000") == {
        "value": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(86_400_000)),
        "source": "DASKRUNNER_JOB_END_TIME=86400000",
    }
    assert ends() == {"value": "unknown", "source": ""}


def test_it_says_where_processes_without_numbers_meet(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "OAR_JOB_ID": "7", "DASK_RUNNER__SIZE": "3"}
    launch = collect(environ, "auto")["launch"]
    assert launch["launcher"]["value"] == "oar"
    assert launch["size"]["value"] == "3"
    assert launch["meeting"]["value"] == f"{tmp_path}/.dask-runner"
