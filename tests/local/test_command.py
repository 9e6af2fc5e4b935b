"""A command behind ``--``, and every Python below it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

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


def test_programs_below_a_shell_connect(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(WHO)
    line = '"$0" program.py a "b c" && "$0" -m program && "$0" -c pass; exit 7'
    ended = dask_runner("-n", 2, "--", "sh", "-c", line, sys.executable, cwd=tmp_path)
    assert ended.status == 7, ended
    first, second = ended.stdout.splitlines()
    assert first in {"0 a b c", "1 a b c"}
    assert second in {"0", "1"}


# ---------------------------------------------- programs of one living cluster


def test_a_report_of_a_command_is_refused_with_a_warning(below: Below) -> None:
    path = below.directory / "report.html"
    assert below.said.count(f"warning: --report {path} will not be written") == 1
    assert not path.exists()


def test_without_a_client_a_program_computes_as_anywhere(below: Below) -> None:
    code = """
import json, program
from distributed import client
print(json.dumps([program.here(), client._get_global_client() is None]))
"""
    assert below.code(code) == ["nobody", True]


def test_what_looks_for_a_client_finds_the_programs(below: Below) -> None:
    code = """
import json, joblib, program
from distributed import Client, default_client, get_client
client = Client()
with joblib.parallel_config("dask"):
    done = joblib.Parallel()(joblib.delayed(abs)(-i) for i in range(3))
print(json.dumps([done, default_client() is get_client() is client, program.here()]))
"""
    done, same, where = below.code(code)
    assert (done, same) == ([0, 1, 2], True)
    assert where in {"0", "1"}


def test_another_cluster_of_the_program_keeps_its_own_link(below: Below) -> None:
    code = """
import json, re
from distributed import Client, LocalCluster
ours = Client().dashboard_link
with LocalCluster(processes=False, n_workers=1, dashboard_address=":0") as cluster:
    theirs = Client(cluster).dashboard_link
print(json.dumps([ours, theirs]))
"""
    env = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "False"}
    ended = below.run(sys.executable, "-c", code, env=env)
    ours, theirs = json.loads(ended.stdout)
    assert "LocalCluster() makes another cluster" in ended.stderr
    assert ours.startswith("unix:")
    assert theirs.startswith("http://")


def test_dask_without_distributed_is_as_it_was(below: Below) -> None:
    code = """
import json, sys
sys.modules["distributed"] = None
import dask
print(json.dumps(dask.delayed(abs)(-1).compute()))
"""
    assert below.code(code) == 1


def test_tls_is_repaired_where_dask_is_used(below: Below) -> None:
    code = """
import distributed, json, sys
from tornado.iostream import SSLIOStream
print(json.dumps([hasattr(SSLIOStream.read_from_fd, "__wrapped__"),
                  "dask_runner" in sys.modules]))
"""
    assert below.code(code) == [True, False]


def test_a_program_that_may_not_prepare_is_told_and_goes_on(below: Below) -> None:
    code = """
import ctypes
ctypes.PyDLL = None
from distributed import Client
print(Client().submit(abs, -1).result())
"""
    ended = below.run(sys.executable, "-c", code)
    assert (ended.returncode, ended.stdout) == (0, "1\n"), ended
    (line,) = ended.stderr.splitlines()
    assert line.startswith("dask-runner: warning: Dask's client in ")


def test_a_cluster_that_has_gone_is_an_error_as_for_any_client(below: Below) -> None:
    env = {
        "DASK_SCHEDULER_ADDRESS": "tls://127.0.0.1:1",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s",
    }
    ended = below.run(sys.executable, "program.py", env=env)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert "Timed out trying to connect to tls://127.0.0.1:1" in last
