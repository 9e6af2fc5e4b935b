"""A command behind ``--``, and every Python below it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.programs.sitehook.standing import VERSIONS
from tests.programs import WHO
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.conftest import DaskRunner


SECONDS = 60

pytestmark = pytest.mark.xdist_group("below a command")


class Below:
    """Pythons as they run below a command of one living cluster."""

    def __init__(self, environ: Mapping[str, str], directory: Path, said: str) -> None:
        self.environ = environ
        self.directory = directory
        self.said = said

    def run(
        self, *args: str | Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            args,
            cwd=self.directory,
            env={**self.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def code(self, code: str, **how: Any) -> Any:
        """Run code in this Python, and return the JSON that it prints."""
        ended = self.run(sys.executable, "-c", code, **how)
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Below]:
    directory = tmp_path_factory.mktemp("below")
    (directory / "program.py").write_text(WHO)
    lasts = directory / "lasts"
    os.mkfifo(lasts)
    line = 'env -0 > "$0/environ"; echo up; cat "$0/lasts"'
    args = ("-n", "2", "--report", str(directory / "report.html"))
    command = ("--", "sh", "-c", line, str(directory))
    with Run((str(DASK_RUNNER), *args, *command), timeout=300) as run:
        run.wait_for("up\n", timeout=120)
        pairs = (directory / "environ").read_text().split("\0")
        environ = dict(pair.split("=", 1) for pair in pairs if pair)
        del environ["PYTEST_DASK_RUNNER_RUN"]
        yield Below(environ, directory, run.stderr)
        lasts.write_text("")
        assert run.wait().status == 0


# ------------------------------------------------------------ whole runs


def test_programs_below_a_shell_use_the_cluster_without_a_client(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(WHO)
    line = '"$0" program.py a "b c" && "$0" -m program && "$0" -c pass; exit 7'
    ended = dask_runner("-n", 2, "--", "sh", "-c", line, sys.executable, cwd=tmp_path)
    assert ended.status == 7, ended
    first, second = ended.stdout.splitlines()
    assert first in {"0 a b c", "1 a b c"}
    assert second in {"0", "1"}


def test_a_cluster_that_was_shut_down_or_lost_leaves_no_noise(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(WHO)
    code = (
        "import program; print(program.here())\n"
        "from distributed import Client; Client().shutdown(); print(program.here())"
    )
    ended = dask_runner("--", sys.executable, "-c", code, cwd=tmp_path)
    assert (ended.status, ended.stdout) == (0, "0\nnobody\n"), ended
    assert "Error" not in ended.stderr.replace("OSError", "")


# ---------------------------------------------- programs of one living cluster


def test_a_report_of_a_command_is_refused_with_a_word(below: Below) -> None:
    path = below.directory / "report.html"
    assert below.said.count(f"warning: --report {path} will not be written") == 1
    assert not path.exists()


def test_what_the_user_chooses_wins_and_connects_nowhere(below: Below) -> None:
    code = """
import dask, json, program
from distributed import Client, LocalCluster, client
own = {"parameter": program.who().compute(scheduler="threads")}
with dask.config.set(scheduler="synchronous"):
    own["setting"] = program.here()
own["connected"] = client._get_global_client() is not None
with LocalCluster(processes=False, n_workers=1, dashboard_address=':0') as cluster:
    own["before"] = program.here()
    with Client(cluster):
        own["client"] = program.here()
own["named"] = str(program.who().compute(scheduler="distributed"))
own["after"] = program.here()
print(json.dumps(own))
"""
    own = below.code(code, env={"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "False"})
    assert own["parameter"] == own["setting"] == own["before"] == "nobody"
    assert not own["connected"]
    # The one worker of one's own cluster is called 0 too.
    assert own["client"] == "0"
    assert {own["named"], own["after"]} <= {"0", "1"}
    settings = {"DASK_SCHEDULER": "threads"}
    assert below.run(sys.executable, "program.py", env=settings).stdout == "nobody\n"


def test_what_dask_chooses_by_a_client_runs_on_any_scheduler(below: Below) -> None:
    code = """
import dask, dask.array as da, json, program
from dask.utils import get_default_shuffle_method
from distributed import Client
def total(**how):
    long = da.ones((400, 400), chunks=(10, 400)).rechunk((400, 10))
    return float(long.sum().compute(**how))
sums = [total(scheduler="threads"), total(), total(scheduler="threads")]
shuffle = [get_default_shuffle_method()]
with dask.config.set(scheduler="threads"):
    shuffle.append(get_default_shuffle_method())
with Client():
    sums.append(total())
print(json.dumps([sums, shuffle]))
"""
    sums, shuffle = below.code(code)
    assert sums == [160_000.0] * 4
    assert shuffle == ["tasks", "disk"]


def test_dask_without_distributed_is_as_it_was(below: Below) -> None:
    code = """
import json, sys
sys.modules["distributed"] = None
import dask
from dask.utils import get_default_shuffle_method
print(json.dumps([dask.delayed(abs)(-1).compute(), get_default_shuffle_method()]))
"""
    assert below.code(code) == [1, "disk"]


def test_what_looks_for_a_client_finds_one(below: Below) -> None:
    code = """
import json, joblib
from distributed import default_client, get_client
with joblib.parallel_config("dask"):
    done = joblib.Parallel()(joblib.delayed(abs)(-i) for i in range(3))
print(json.dumps([done, default_client() is get_client()]))
"""
    assert below.code(code) == [[0, 1, 2], True]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_a_program_compute_as_well(below: Below, method: str) -> None:
    code = f"""
import json, multiprocessing, program, warnings
if __name__ == "__main__":
    # Python's own advice about a fork with threads.
    warnings.simplefilter("ignore")
    mine = program.here()
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        theirs = pool.map(program.here, range(2))
    print(json.dumps([mine, *theirs, program.here()]))
"""
    (below.directory / "children.py").write_text(code)
    ended = below.run(sys.executable, "children.py")
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    assert set(json.loads(ended.stdout)) <= {"0", "1"}


def test_a_forked_child_ends_without_waiting_for_its_parents_client(
    below: Below,
) -> None:
    code = """
import json, os, program, sys, warnings
warnings.simplefilter("ignore")
program.here()
child = os.fork()
if child == 0:
    sys.exit(3)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), program.here()]))
"""
    status, mine = below.code(code)
    assert status == 3
    assert mine in {"0", "1"}


def test_threads_share_one_client(below: Below) -> None:
    code = """
import json, program
from concurrent.futures import ThreadPoolExecutor
from distributed import default_client
with ThreadPoolExecutor(8) as pool:
    done = set(pool.map(program.here, range(8)))
    clients = len(set(pool.map(lambda _: id(default_client()), range(8))))
print(json.dumps([sorted(done), clients]))
"""
    done, clients = below.code(code)
    assert set(done) <= {"0", "1"}
    assert clients == 1


def test_a_notebooks_cell_computes_inside_a_running_loop(below: Below) -> None:
    code = """
import asyncio, json, program
async def cell():
    return program.here()
print(json.dumps(asyncio.run(cell())))
"""
    assert below.code(code) in {"0", "1"}


def test_tls_is_repaired_where_dask_is_used(below: Below) -> None:
    code = """
import distributed, json, sys
from tornado.iostream import SSLIOStream
print(json.dumps([hasattr(SSLIOStream.read_from_fd, "__wrapped__"),
                  "dask_runner" in sys.modules]))
"""
    assert below.code(code) == [True, False]


def test_a_cluster_that_one_has_shut_down_is_not_waited_for(below: Below) -> None:
    code = """
import dask, program
from distributed import Client, LocalCluster
with LocalCluster(processes=False, n_workers=1, dashboard_address=":0") as cluster:
    Client(cluster).shutdown()
dask.config.set({"scheduler-address": "tls://127.0.0.1:1"})
print(program.here())
"""
    env = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "False"}
    ended = below.run(sys.executable, "-c", code, env=env)
    assert (ended.returncode, ended.stdout) == (0, "nobody\n"), ended
    (line,) = ended.stderr.splitlines()
    assert line.startswith("dask-runner: warning: computing alone: the scheduler at")


def test_a_cluster_that_has_gone_is_an_error_as_for_a_client(below: Below) -> None:
    env = {
        "DASK_SCHEDULER_ADDRESS": "tls://127.0.0.1:1",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s",
    }
    ended = below.run(sys.executable, "program.py", env=env)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert "Timed out trying to connect to tls://127.0.0.1:1" in last


def test_another_version_computes_alone_and_says_so(below: Below) -> None:
    other = {VERSIONS: "Python 3.9 with distributed 2021.1.0"}
    ended = below.run(sys.executable, "program.py", env=other)
    assert (ended.returncode, ended.stdout) == (0, "nobody\n"), ended
    assert ended.stderr.count("the cluster has Python 3.9") == 1


def test_without_an_address_nothing_is_said(below: Below) -> None:
    none = {"DASK_SCHEDULER_ADDRESS": ""}
    ended = below.run(sys.executable, "program.py", env=none)
    assert (ended.stdout, ended.stderr) == ("nobody\n", "")
