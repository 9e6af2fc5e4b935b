"""Somebody who is not the owner at a cluster that is open to its owner."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.meeting import cluster_directory, tls
from tests.attacks.stranger import STRANGER, attack
from tests.cluster.jobs import SIF
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.jobs import Jobs

#: Sends the hub at a port requests of the owner's, with a key or with none.
ASK = """
host, port, certificate, key = sys.argv[1:]
requests = [b'["AskState", {"version": 1}]', b'["AskDashboard", {"version": 1}]',
            b'["Attend", {"version": 1}]', b'["AskStop", {"version": 1, "by": "me"}]']

def file(text):
    held = os.memfd_create("held")
    os.write(held, text.encode())
    return "/proc/self/fd/%d" % held

for request in requests:
    for way in ("no TLS", "no key", "another key"):
        told = b""
        with socket.create_connection((host, int(port)), timeout=30) as sock:
            try:
                if way != "no TLS":
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                    if way == "another key":
                        context.load_cert_chain(file(certificate), file(key))
                    sock = context.wrap_socket(sock)
                sock.sendall(struct.pack(">I", len(request)) + request)
                while piece := sock.recv(4096):
                    told += piece
            except OSError:
                pass
        print(way, b"State" in told or b"Stopping" in told or b"Connected" in told)
"""

#: Reads a file and lists its directory.
READ = """
path = sys.argv[1]
for way in (lambda: open(path).read(), lambda: os.listdir(os.path.dirname(path))):
    try:
        print("read", way())
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.fixture
def served() -> Iterator[Run]:
    args = (str(DASK_RUNNER), "serve", "-n", "2", "--name", "lab")
    with Run(args) as run:
        run.wait_for("ready after")
        yield run
        environ = {"PATH": os.environ["PATH"], "HOME": str(run.home)}
        line = [str(DASK_RUNNER), "stop", "lab"]
        subprocess.run(line, env=environ, check=True, capture_output=True)
        assert run.wait().status == 0


def path_of(run: Run) -> Path:
    return cluster_directory.path_of("lab", {"HOME": str(run.home)})


@pytest.mark.attack(
    "asks your cluster's hub for its state or dashboard, or to stop, without its key",
    "no answer, and the cluster goes on",
)
def test_only_the_owner_asks_the_hub(served: Run) -> None:
    record = json.loads(path_of(served).read_text())["runner"]

    done = attack(ASK, record["host"], record["port"], *tls.material())

    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.split("\n")[:-1]
        == [f"{way} False" for way in ("no TLS", "no key", "another key")] * 4
    )
    assert "stopped by" not in served.stderr


@pytest.mark.attack(
    "reads your cluster's record in `~/.dask-runner`, which has its key",
    "nothing: neither the file nor the directory can be read",
)
def test_only_the_owner_reads_the_record(served: Run) -> None:
    # All of the way to it is open, as in many a home directory.
    for directory in (served.directory, served.home):
        directory.chmod(0o755)

    done = attack(READ, path_of(served))

    assert done.stdout.split() == ["PermissionError"] * 2


@pytest.mark.attack(
    "makes `~/.dask-runner` before you do, where your home can be written by others, "
    "with a record of a cluster of its own",
    "nothing: such a directory is refused by name, and no record of it is read",
)
def test_a_directory_of_somebody_else_is_not_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for above in list(tmp_path.parents)[:2]:
        above.chmod(0o755)
    code = "os.mkdir(sys.argv[1], 0o755); open(sys.argv[1] + '/cluster-lab.json', 'w')"
    done = attack(code, tmp_path / ".dask-runner")
    assert done.returncode == 0, done.stderr

    with pytest.raises(ConfigError) as error:
        cluster_directory.choose("lab", {"HOME": str(tmp_path)})

    assert f"is in a directory of uid {STRANGER}, not ours" in error.value.saw


@pytest.mark.attack(
    "runs `dask-runner list` and `stop` on the login node, with your home as HOME",
    "an error: your clusters are neither shown nor ended",
)
def test_another_account_of_the_login_node_neither_lists_nor_stops(jobs: Jobs) -> None:
    job = jobs.srun("-N2 -n2", "serve", "--name", "lab")
    job.wait_for("ready after")
    home = jobs.shell("sh", "-c", "echo $HOME").strip()
    for verb in ("list", "stop"):
        line = ["apptainer", "exec", "--bind", home, SIF, "sh", "-c"]
        line.append(f"HOME={home} dask-runner {verb}")
        done = jobs.cluster.run(line, user="other", timeout=60, cwd="/")
        assert done.returncode == 78, done
        assert re.search("cannot be read: .*Permission denied", done.stderr), done
    assert "stopped by" not in job.running.stderr
    ended = jobs.start("apptainer", "run", SIF, "stop", "lab")
    assert ended.running.wait().returncode == 0
    assert job.wait().returncode == 0
