"""What the options do to a real cluster of local ranks."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.running import DASK_RUNNER, DaskRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Ended

#: Finds what the scheduler knows.
FIND = """
import json, pathlib, sys
import dask
from distributed import Client
client = Client()
info = client.scheduler_info(n_workers=-1)
found = {
    "address": client.scheduler.address,
    "workers": {
        str(worker["name"]): {
            "address": address,
            "nthreads": worker["nthreads"],
            "memory": worker["memory_limit"],
            "resources": worker["resources"],
            "nanny": worker["nanny"],
            "directory": worker["local_directory"],
        }
        for address, worker in info["workers"].items()
    },
    "dashboard": client.dashboard_link,
}
"""
#: Prints it.
SHOW = FIND + "print(json.dumps(found))\n"


def shown(ended: Ended) -> dict[str, Any]:
    assert ended.status == 0, ended
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("range_", "taken"), [(1, "rank 0"), (4, "a worker or its")])
def test_a_range_without_a_free_port_ends_the_cluster(
    dask_runner: DaskRunner, range_: int, taken: str
) -> None:
    # The first port is taken by another program.
    with socket.create_server(("127.0.0.1", 0)) as other:
        first = other.getsockname()[1]
        chosen = f"{first}-{first + range_ - 1}"
        ended = dask_runner("-n", 1, "--ports", chosen, "-c", "pass")

    assert ended.status == 75, ended
    assert f"finds no free port among --ports {chosen}" in ended.stderr, ended
    assert taken in ended.stderr, ended


def test_several_options_at_once(dask_runner: DaskRunner, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch disk"
    scratch.mkdir()
    args = [
        *("-n", 2, "--nworkers", 2, "--nthreads", 3, "--memory-limit", "300 MiB"),
        *("--resources", "GPU=2 MEM=1e9", "--local-directory", scratch),
        *("--interface", "lo", "--security", "none", "--quiet"),
    ]
    ended = dask_runner(*args, "-c", SHOW)
    found = shown(ended)
    assert found["address"].startswith("tcp://127.0.0.1:")
    workers = found["workers"]
    assert sorted(workers) == ["0", "0-1", "1", "1-1"]
    for worker in workers.values():
        assert worker["address"].startswith("tcp://127.0.0.1:")
        assert worker["nthreads"] == 3
        assert worker["memory"] == 300 * 2**20
        assert worker["resources"] == {"GPU": 2.0, "MEM": 1e9}
        assert worker["nanny"]
        assert worker["directory"].startswith(str(scratch))
    assert not list(scratch.iterdir())
    assert not ended.stderr


def test_the_dedicated_layout_without_nannies(dask_runner: DaskRunner) -> None:
    args = ["-n", 4, "--layout", "dedicated", "--no-nanny", "--no-dashboard"]
    ended = dask_runner(*args, "-c", SHOW)
    found = shown(ended)
    assert sorted(found["workers"]) == ["2", "3"]
    assert not any(worker["nanny"] for worker in found["workers"].values())
    assert "dashboard" not in ended.stderr


def test_a_report_of_a_script_that_fails_or_shuts_down_hides_nothing(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    code = (
        "import sys; from distributed import Client; Client().shutdown(); sys.exit(5)"
    )
    ended = dask_runner("--report", tmp_path / "r.html", "-c", code)
    assert ended.status == 5, ended


def test_two_clusters_at_once_do_not_meet(dask_runner: DaskRunner) -> None:
    runs = [dask_runner.start("-n", 2, "-c", SHOW, timeout=120) for _ in range(2)]
    found = [shown(run.wait()) for run in runs]
    assert found[0]["address"] != found[1]["address"]
    assert [sorted(one["workers"]) for one in found] == [["0", "1"]] * 2


def test_a_cluster_inside_a_cluster_is_another_one(dask_runner: DaskRunner) -> None:
    ended = dask_runner(
        "-n", 2, "--", DASK_RUNNER, "-n", 3, "-c", SHOW, timeout=120, stray=".*"
    )
    assert sorted(shown(ended)["workers"]) == ["0", "1", "2"]


def test_sixteen_ranks(dask_runner: DaskRunner) -> None:
    ended = dask_runner("-n", 16, "--timeout", 200, "-c", SHOW, timeout=240)
    assert len(shown(ended)["workers"]) == 16
    assert len(ended.stderr.splitlines()) <= 6


def test_someone_without_the_material_is_not_let_in(dask_runner: DaskRunner) -> None:
    code = (
        "import os, subprocess, sys; from distributed import Client;"
        "address = Client().scheduler.address;"
        "env = {k: v for k, v in os.environ.items() if not k.startswith('DASK_')};"
        "code = 'import sys; from distributed import Client;"
        "Client(sys.argv[1], timeout=2)';"
        "args = [sys.executable, '-c', code, address];"
        "done = subprocess.run(args, env=env, capture_output=True, check=False);"
        "print(done.returncode)"
    )
    ended = dask_runner("-c", code, stray=".*")
    assert ended.stdout == "1\n", ended


# --- one cluster with an option of each kind ----------------------------------

LADEN = pytest.mark.xdist_group("a cluster with many options")

#: Prints what the options have made, beside what the scheduler knows.
LOOK = f"""
{FIND}
(path,) = pathlib.Path(sys.argv[1]).iterdir()
get = lambda: dask.config.get("my.key")
found |= {{
    "file": path.name,
    "mode": oct(path.stat().st_mode & 0o777),
    "by file": Client(scheduler_file=str(path)).submit(sum, [1, 2]).result(),
    "preload": list(client.run(lambda dask_worker: dask_worker.mine).values()),
    "key": [get(), client.submit(get).result()],
}}
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Laden:
    """A cluster with many options that has ended, and what they were about."""

    ended: Ended
    found: dict[str, Any]
    place: Path
    report: Path
    port: int


@pytest.fixture(scope="module")
def laden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laden]:
    folder = tmp_path_factory.mktemp("laden")
    place, report = folder / "s", folder / "my report.html"
    place.mkdir()
    preload = folder / "mine.py"
    preload.write_text("def dask_setup(worker):\n    worker.mine = 42\n")
    settings = folder / "settings"
    settings.mkdir()
    (settings / "mine.yaml").write_text(
        "runner:\n  nthreads: 5\n  nworkers: 3\nmy: {key: 7}\n"
    )
    env = {"DASK_CONFIG": str(settings), "DASK_RUNNER__NWORKERS": "2"}
    runner = DaskRunner()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        args = [
            *("-n", 2, "--report", report, "--preload", preload),
            *("--scheduler-file", place / "s-{job_id}.json"),
            *("--dashboard-address", f"127.0.0.1:{port}"),
        ]
        try:
            ended = runner(*args, "-c", LOOK, place, env=env)
            yield Laden(ended, shown(ended), place, report, port)
        finally:
            runner.discard()


@LADEN
def test_options_come_from_variables_and_files(laden: Laden) -> None:
    workers = laden.found["workers"]
    assert sorted(workers) == ["0", "0-1", "1", "1-1"]
    assert {worker["nthreads"] for worker in workers.values()} == {5}


@LADEN
def test_dasks_own_configuration_reaches_workers_and_script(laden: Laden) -> None:
    assert laden.found["key"] == [7, 7]


@LADEN
def test_the_scheduler_file_is_dasks_and_takes_the_job_id(laden: Laden) -> None:
    assert laden.found["file"].startswith("s-")
    assert laden.found["file"].endswith(".json")
    assert "{" not in laden.found["file"]
    assert laden.found["mode"] == "0o600"
    assert laden.found["by file"] == 3
    assert not list(laden.place.iterdir())


@LADEN
def test_a_preload_is_loaded_by_each_worker(laden: Laden) -> None:
    assert laden.found["preload"] == [42] * 4


@LADEN
def test_a_report_is_written_and_shows_the_program(laden: Laden) -> None:
    text = laden.report.read_text()
    assert "<html" in text
    assert "dask_worker.mine" in text


@LADEN
def test_a_taken_dashboard_port_is_no_trouble(laden: Laden) -> None:
    link = laden.found["dashboard"]
    assert link.startswith("http://127.0.0.1:")
    assert f":{laden.port}/" not in link
    assert f"dashboard {link} (" in laden.ended.stderr


@LADEN
def test_connections_are_encrypted_unless_the_user_says_otherwise(laden: Laden) -> None:
    assert laden.found["address"].startswith("tls://")
    workers = laden.found["workers"].values()
    assert all(worker["address"].startswith("tls://") for worker in workers)
