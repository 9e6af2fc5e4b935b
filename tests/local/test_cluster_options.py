"""What the options do to a real cluster of local ranks."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner
    from tests.running import Ended

#: Prints what the scheduler knows, as JSON.
SHOW = """
import json, os
from distributed import Client
client = Client()
info = client.scheduler_info(n_workers=-1)
print(json.dumps({
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
    "dashboard": info["services"].get("dashboard"),
}))
"""


def shown(ended: Ended) -> dict[str, Any]:
    assert ended.status == 0, ended
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    return found


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


def test_a_report_is_written(dask_runner: DaskRunner, tmp_path: Path) -> None:
    path = tmp_path / "my report.html"
    code = (
        "from distributed import Client; print(Client().submit(sum, [1, 2]).result())"
    )
    ended = dask_runner("--report", path, "-c", code)
    assert (ended.status, ended.stdout) == (0, "3\n"), ended
    assert "<html" in path.read_text()


def test_a_report_of_a_script_that_fails_or_shuts_down_hides_nothing(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    code = (
        "import sys; from distributed import Client; Client().shutdown(); sys.exit(5)"
    )
    ended = dask_runner("--report", tmp_path / "r.html", "-c", code)
    assert ended.status == 5, ended


def test_the_scheduler_file_is_dasks_and_takes_the_job_id(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    place = tmp_path / "s"
    place.mkdir()
    code = (
        "import os, pathlib; from distributed import Client;"
        f"(path,) = pathlib.Path({str(place)!r}).iterdir();"
        "print(path.name, oct(path.stat().st_mode & 0o777));"
        "print(Client(scheduler_file=str(path)).submit(sum, [1, 2]).result())"
    )
    ended = dask_runner(
        "-n", 2, "--scheduler-file", place / "s-{job_id}.json", "-c", code
    )
    assert ended.status == 0, ended
    first, second = ended.stdout.splitlines()
    assert first.startswith("s-")
    assert first.endswith(".json 0o600")
    assert "{" not in first
    assert second == "3"
    assert not list(place.iterdir())


def test_a_preload_is_loaded_by_each_worker(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def dask_setup(worker):\n    worker.mine = 42\n")
    code = (
        "from distributed import Client;"
        "print(sorted(Client().run(lambda dask_worker: dask_worker.mine).values()))"
    )
    ended = dask_runner("-n", 2, "--preload", path, "-c", code)
    assert (ended.status, ended.stdout) == (0, "[42, 42]\n"), ended


def test_a_taken_dashboard_port_is_no_trouble(dask_runner: DaskRunner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = dask_runner("--dashboard-address", f"127.0.0.1:{port}", "-c", SHOW)
    found = shown(ended)
    assert found["dashboard"]
    assert found["dashboard"] != port
    assert f"127.0.0.1:{found['dashboard']}/status" in ended.stderr


def test_options_come_from_variables_and_files(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("runner:\n  nthreads: 5\n  nworkers: 3\n")
    env = {"DASK_CONFIG": str(tmp_path), "DASK_RUNNER__NWORKERS": "2"}
    found = shown(dask_runner("-c", SHOW, env=env))
    assert sorted(found["workers"]) == ["0", "0-1"]
    assert {worker["nthreads"] for worker in found["workers"].values()} == {5}


def test_dasks_own_configuration_reaches_workers_and_script(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("my: {key: 7}\n")
    code = (
        "import dask; from distributed import Client;"
        "get = lambda: dask.config.get('my.key');"
        "print(get(), Client().submit(get).result())"
    )
    ended = dask_runner("-c", code, env={"DASK_CONFIG": str(tmp_path)})
    assert ended.stdout == "7 7\n", ended


def test_two_clusters_at_once_do_not_meet(dask_runner: DaskRunner) -> None:
    runs = [dask_runner.start("-n", 2, "-c", SHOW, timeout=120) for _ in range(2)]
    found = [shown(run.wait()) for run in runs]
    assert found[0]["address"] != found[1]["address"]
    assert [sorted(one["workers"]) for one in found] == [["0", "1"]] * 2


def test_a_cluster_inside_a_cluster_is_another_one(dask_runner: DaskRunner) -> None:
    from tests.running import DASK_RUNNER  # noqa: PLC0415

    ended = dask_runner(
        "-n", 2, "--", DASK_RUNNER, "-n", 3, "-c", SHOW, timeout=120, stray=".*"
    )
    assert sorted(shown(ended)["workers"]) == ["0", "1", "2"]


def test_sixteen_ranks(dask_runner: DaskRunner) -> None:
    ended = dask_runner("-n", 16, "--timeout", 200, "-c", SHOW, timeout=240)
    assert len(shown(ended)["workers"]) == 16
    assert len(ended.stderr.splitlines()) <= 6


@pytest.mark.parametrize("method", ["tcp", "tls"])
def test_the_protocol_follows_security_or_its_own_option(
    dask_runner: DaskRunner, method: str
) -> None:
    args = ["--security", "none"] if method == "tcp" else []
    found = shown(dask_runner(*args, "-c", SHOW))
    assert found["address"].startswith(f"{method}://")


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
