"""`--with` from the SIF, on two nodes that share a home and reach no index."""

from __future__ import annotations

import base64
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.cluster.jobs import told
from tests.wheels import wheel

if TYPE_CHECKING:
    from pathlib import Path

    from containers.commands import Completed
    from tests.cluster.jobs import Jobs

SCRIPT = """\
import socket
from distributed import Client
import extra

def look():
    import extra, more
    return socket.gethostname(), more.VERSION, extra.__file__

found = Client().run(look).values()
print(extra.VERSION, *sorted(one[:2] for one in found))
assert len({one[2] for one in found}) == 2, found
"""

TWO_NODES = "-N2 --ntasks-per-node=1"


@pytest.fixture
def env(jobs: Jobs, tmp_path: Path) -> dict[str, str]:
    """Variables for a directory of wheels in the shared home, and a cache there."""
    made = wheel(tmp_path, "extra", requires=("more",)), wheel(tmp_path, "more", "1.5")
    jobs.shell("mkdir", "wheels")
    put = 'echo "$1" | base64 -d > "wheels/$2"'
    for one in made:
        text = base64.b64encode(one.read_bytes()).decode()
        jobs.shell("sh", "-c", put, "", text, one.name)
    for name in ("wheels", "cache"):
        jobs.makes(name)
    jobs.write("script.py", SCRIPT)
    return {
        "UV_FIND_LINKS": f"{jobs.directory}/wheels",
        "UV_NO_INDEX": "1",
        "DASK_RUNNER__PACKAGE_CACHE": f"{jobs.directory}/cache",
    }


def packages(done: Completed) -> str:
    """Return how a job that has ended well came by its packages."""
    assert done.returncode == 0, told(done)
    assert done.stdout == "1.0 ('c1', '1.5') ('c2', '1.5')\n", told(done)
    found = re.search(r"2 packages beside the image's, (\w+)", done.stderr)
    assert found, told(done)
    return found[1]


def test_the_first_job_resolves_and_the_second_finds_them_on_all_nodes(
    jobs: Jobs, env: dict[str, str]
) -> None:
    for how in ("resolved", "from"):
        done = jobs.srun(TWO_NODES, "--with", "extra", "script.py", env=env).wait()
        assert packages(done) == how
    (archive,) = jobs.shell("ls", "-A", "cache").splitlines()
    assert archive.endswith(".tar")


def test_two_jobs_at_once_have_one_archive(jobs: Jobs, env: dict[str, str]) -> None:
    line = (TWO_NODES, "--with", "extra", "script.py")
    both = [jobs.srun(*line, env=env) for _ in range(2)]
    for job in both:
        packages(job.running.wait())
    assert len(jobs.shell("ls", "-A", "cache").splitlines()) == 1


def test_what_is_not_there_ends_all_nodes_with_the_reason(
    jobs: Jobs, env: dict[str, str]
) -> None:
    done = jobs.srun(TWO_NODES, "--with", "nosuchpkg", "script.py", env=env).wait()

    assert done.returncode == 78, told(done)
    assert done.stderr.count("dask-runner: error:") == 1, told(done)
    assert "nosuchpkg cannot be installed" in done.stderr


#: An index that takes connections, and answers none.
INDEX = """\
import socket
server = socket.create_server(("0.0.0.0", 0))
print("port", server.getsockname()[1], flush=True)
kept = []
while True:
    kept.append(server.accept())
"""


def test_a_job_that_is_cancelled_while_it_resolves_leaves_nothing(
    jobs: Jobs, env: dict[str, str]
) -> None:
    jobs.write("index.py", INDEX)
    index = jobs.start("python3", "index.py")
    index.wait_for("port")
    port = index.running.stdout.split()[1]
    env |= {"UV_DEFAULT_INDEX": f"http://login:{port}/simple", "UV_HTTP_TIMEOUT": "600"}
    del env["UV_NO_INDEX"]
    job = jobs.srun(TWO_NODES, "--with", "other", "script.py", env=env)
    job.wait_for("resolving 1 requirement")

    jobs.shell("scancel", "--signal=TERM", "--user=user")
    done = job.running.wait()
    index.signal(signal.SIGKILL)
    index.running.wait()

    assert done.returncode == 143, told(done)
    assert "dask-runner: error" not in done.stderr, told(done)
    assert jobs.shell("ls", "-A", "cache") == ""
    jobs.check_left((), "", told(done))
