"""Somebody who is not the owner at a cluster that is open to its owner."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dask_runner
from dask_runner.errors import ConfigError
from dask_runner.meeting import cluster_directory, tls, which_cluster
from tests.attacks.stranger import STRANGER, attack
from tests.cluster.jobs import SIF
from tests.running import DASK_RUNNER, Run
from tests.unit.records import NAMED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.jobs import Jobs

#: Sends the hub at a port requests of the owner's, with a key or with none.
ASK = """
host, port, certificate, key = sys.argv[1:]
requests = [b'["AskState", {"version": 1}]', b'["AskDashboard", {"version": 1}]',
            b'["AskScale", {"version": 1, "workers": 1, "nearest": true}]',
            b'["Attend", {"version": 1}]',
            b'["AskLogs", {"version": 1, "of": "", "follows": false}]',
            b'["AskStop", {"version": 1, "by": "me"}]',
            b'["AskJoin", {"version": 1, "node": "c9", "key": "k", "size": 1, '
            b'"job": "", "grace": 5.0, "leaves_in": -1.0}]']

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
        print(way, b"State" in told or b"Stopping" in told or b"Connected" in told
              or b"WillScale" in told or b"LogText" in told or b"Joined" in told)
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


@pytest.fixture
def shared() -> Iterator[Path]:
    """A home in which all may write."""
    home = Path(tempfile.mkdtemp(prefix="shared-"))
    home.chmod(0o777)
    yield home
    shutil.rmtree(home)


def path_of(run: Run) -> Path:
    return cluster_directory.path_of("lab", {"HOME": str(run.home)})


@pytest.mark.attack(
    "asks your cluster's hub for its state, dashboard or logs, for fewer workers, to "
    "join it or to end it, without its key",
    "no answer, and the cluster goes on",
)
def test_only_the_owner_asks_the_hub(served: Run) -> None:
    record = json.loads(path_of(served).read_text())["runner"]

    done = attack(ASK, record["host"], record["port"], *tls.material())

    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.split("\n")[:-1]
        == [f"{way} False" for way in ("no TLS", "no key", "another key")] * 7
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
def test_a_directory_of_somebody_else_is_not_read(shared: Path) -> None:
    code = "os.mkdir(sys.argv[1], 0o755); open(sys.argv[1] + '/cluster-lab.json', 'w')"
    done = attack(code, shared / ".dask-runner")
    assert done.returncode == 0, done.stderr

    with pytest.raises(ConfigError) as error:
        which_cluster.choose("lab", {"HOME": str(shared)})

    assert f"is in a directory of uid {STRANGER}, not ours" in error.value.saw


@pytest.mark.attack(
    "lays a record of its own cluster into your `~/.dask-runner`, where others can "
    "write there, for your `Cluster.from_name` to send it your code",
    "nothing: no record in such a directory is believed",
)
def test_a_record_among_yours_is_not_believed(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = shared / ".dask-runner"
    directory.mkdir()
    directory.chmod(0o777)
    code = "open(sys.argv[1], 'w').write(sys.argv[2]); os.chmod(sys.argv[1], 0o600)"
    path = directory / "cluster-lab.json"
    done = attack(code, path, NAMED.dump())
    assert done.returncode == 0, done.stderr
    assert path.stat().st_uid == STRANGER

    monkeypatch.setenv("HOME", str(shared))
    with pytest.raises(ConfigError) as error:
        dask_runner.Cluster.from_name("lab")

    assert "the directory of running clusters cannot be read" in error.value.saw


@pytest.mark.attack(
    "attaches to your cluster with `Cluster.from_name`, with your home as HOME",
    "an error: it reads no record, and so it has no key",
)
def test_another_account_does_not_attach(jobs: Jobs) -> None:
    job = jobs.srun("-N2 -n2", "serve", "--name", "lab")
    job.wait_for("ready after")
    home = jobs.shell("sh", "-c", "echo $HOME").strip()
    code = "from dask_runner import Cluster; Cluster.from_name('lab')"
    line = ["apptainer", "exec", "--bind", home, SIF, "sh", "-c"]
    line.append(f'HOME={home} python -c "{code}"')
    done = jobs.cluster.run(line, user="other", timeout=60, cwd="/")
    assert done.returncode == 1, done
    assert re.search("ConfigError: .*cannot be read: .*Permission denied", done.stderr)
    ended = jobs.start("apptainer", "run", SIF, "stop", "lab")
    assert ended.running.wait().returncode == 0
    assert job.wait().returncode == 0


@pytest.mark.attack(
    "runs `dask-runner list`, `logs` and `stop` on the login node, with your home as "
    "HOME",
    "an error: your clusters are neither shown, nor read, nor ended",
)
def test_another_account_of_the_login_node_neither_sees_nor_stops(jobs: Jobs) -> None:
    job = jobs.srun("-N2 -n2", "serve", "--name", "lab")
    job.wait_for("ready after")
    home = jobs.shell("sh", "-c", "echo $HOME").strip()
    for verb in ("list", "logs", "stop"):
        line = ["apptainer", "exec", "--bind", home, SIF, "sh", "-c"]
        line.append(f"HOME={home} dask-runner {verb}")
        done = jobs.cluster.run(line, user="other", timeout=60, cwd="/")
        assert done.returncode == 78, done
        assert re.search("cannot be read: .*Permission denied", done.stderr), done
    assert "stopped by" not in job.running.stderr
    ended = jobs.start("apptainer", "run", SIF, "stop", "lab")
    assert ended.running.wait().returncode == 0
    assert job.wait().returncode == 0


@pytest.mark.attack(
    "joins your cluster with `dask-runner join`, for your tasks to run as another user",
    "an error: it reads no record, and so it has no key",
)
def test_another_account_does_not_join(jobs: Jobs) -> None:
    job = jobs.srun("-N1 -n1", "serve", "--name", "lab")
    job.wait_for("ready after")
    home = jobs.shell("sh", "-c", "echo $HOME").strip()
    line = ["apptainer", "exec", "--bind", home, SIF, "sh", "-c"]
    line.append(f"HOME={home} dask-runner join lab")
    done = jobs.cluster.run(line, user="other", timeout=60, cwd="/")
    assert done.returncode == 78, done
    assert re.search("cannot be read: .*Permission denied", done.stderr), done
    assert "join j1" not in job.running.stderr
    ended = jobs.start("apptainer", "run", SIF, "stop", "lab")
    assert ended.running.wait().returncode == 0
    assert job.wait().returncode == 0


@pytest.mark.attack(
    "lays a record of its own cluster into your `~/.dask-runner`, where others can "
    "write there, for your `dask-runner join` to run its tasks as you",
    "an error: no record in such a directory is believed, and no worker starts",
)
def test_nobody_elses_cluster_is_joined(shared: Path) -> None:
    directory = shared / ".dask-runner"
    directory.mkdir()
    directory.chmod(0o777)
    code = "open(sys.argv[1], 'w').write(sys.argv[2]); os.chmod(sys.argv[1], 0o600)"
    done = attack(code, directory / "cluster-lab.json", NAMED.dump())
    assert done.returncode == 0, done.stderr

    with Run((str(DASK_RUNNER), "join", "lab"), env={"HOME": str(shared)}) as run:
        ended = run.wait()

    assert ended.status == 78
    assert "the directory of running clusters cannot be read" in ended.stderr


@pytest.mark.attack(
    "opens the key files of a program that `dask-runner connect` has started",
    "nothing: they are in no directory, and the kernel lets only you open them",
)
def test_only_the_owner_opens_the_keys_of_a_connected_program(served: Run) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(served.home)}
    line = [str(DASK_RUNNER), "connect", "lab", "--", "sh", "-c"]
    name = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"
    line.append(f"echo ${name}; cat >/dev/null")
    with subprocess.Popen(
        line, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        path = program.stdout.readline().strip().strip("'")
        assert "PRIVATE KEY" in Path(path).read_text()

        done = attack(READ, path)

        assert done.stdout.split() == ["PermissionError"] * 2
        program.communicate()
    assert program.returncode == 0
