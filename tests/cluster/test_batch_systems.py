"""What ``dask-runner job`` prints, on Grid Engine, HTCondor and OAR in containers."""

import json
import re
import secrets
import shlex
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.cluster.batch_systems import GRID_ENGINE, HTCONDOR, NODES, OAR, Batch, Site
from tests.cluster.jobs import SIF
from tests.conftest import ROOT

NAME = f"dask-runner-tests-{zlib.crc32(str(ROOT).encode()):08x}"

ARGS = ("a  b", "it's", "$HOME", "")

SCRIPT = """\
import json, socket, sys
from distributed import Client
client = Client()
workers = client.scheduler_info(n_workers=-1)["workers"].values()
print(json.dumps({
    "argv": sys.argv,
    "workers": sorted(str(worker["id"]) for worker in workers),
    "nodes": sorted(set(client.run(socket.gethostname).values())),
}))
sys.exit(3)
"""

#: Jobs until one begins where it has to.
TRIES = 10

# Goes on when a worker is lost.
WAITS = """\
import socket, time
from distributed import Client
client = Client()
def workers():
    return len(client.scheduler_info(n_workers=-1)["workers"])
before = workers()
print("begun on", socket.gethostname(), flush=True)
while workers() == before:
    time.sleep(0.1)
print("fewer", flush=True)
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(GRID_ENGINE, marks=pytest.mark.xdist_group("sge")),
        pytest.param(HTCONDOR, marks=pytest.mark.xdist_group("htcondor")),
        # The same job script is replayed by test_replays.py.
        pytest.param(OAR, marks=[pytest.mark.xdist_group("oar"), pytest.mark.heavy]),
    ],
    ids=lambda batch: batch.name,
)
def up(
    request: pytest.FixtureRequest,
    engine: Any,
    shown: None,
    worker: str,
    require: Callable[..., AbstractContextManager[None]],
) -> Iterator[tuple[Any, Batch]]:
    """A cluster of a batch system, and how its jobs are submitted."""
    del shown
    from ci.slurm.cluster import Cluster  # noqa: PLC0415  only where containers are

    batch: Batch = request.param
    name = f"{NAME}-{batch.name}{worker}"
    cluster = Cluster(name, client=engine, system=batch.name)
    with require(f"a mirror of Debian with {batch.name}", "cluster"):
        cluster.system.image(engine)
    was_up = bool(cluster.members()) and not worker
    cluster.up()
    yield cluster, batch
    if not was_up:
        cluster.down()


@pytest.fixture
def site(up: tuple[Any, Batch]) -> Iterator[Site]:
    """Submit jobs in a directory of the shared home."""
    cluster, batch = up
    site = Site(cluster, batch, f"/home/user/job-{secrets.token_hex(2)}")
    yield site
    site.discard()


@pytest.mark.system("Grid Engine", "main job")
@pytest.mark.system("HTCondor", "main job")
@pytest.mark.system("OAR", "main job")
def test_a_script_runs_on_two_nodes_and_its_status_is_the_jobs(site: Site) -> None:
    site.write("script.py", SCRIPT)

    done = site.submit("script.py", *ARGS).wait()

    assert done.returncode == 3, site.told(done)
    (line,) = (one for one in site.output().splitlines() if one.startswith("{"))
    assert json.loads(line) == {
        "argv": ["script.py", *ARGS],
        "workers": ["0", "1"],
        "nodes": list(NODES),
    }, site.told(done)
    site.check_left()


@pytest.mark.system("Grid Engine", "serve")
@pytest.mark.system("Grid Engine", "join")
@pytest.mark.system("HTCondor", "serve")
@pytest.mark.system("HTCondor", "join")
@pytest.mark.system("OAR", "serve")
@pytest.mark.system("OAR", "join")
def test_a_cluster_is_served_by_one_job_and_joined_by_another(site: Site) -> None:
    serving = site.submit("serve", "--name", "lab", name="serve")
    site.wait_for("ready after", "serve")
    beside = site.batch.beside
    joining = site.submit("join", "lab", name="join", options=beside)
    # A join of each rank, or of all, as the system counts them.
    site.wait_for("joined the cluster lab", "join")

    code = (
        "from distributed import Client; client = Client();"
        "client.wait_for_workers(4, timeout=60); print(len(client.nthreads()))"
    )
    assert site.dask_runner("connect", "lab", "-c", code) == "4\n"
    assert re.search(r"^lab .* 4 ", site.dask_runner("list"), re.MULTILINE)
    (state,) = json.loads(site.dask_runner("list", "--json"))["clusters"]
    # A program that scales the cluster knows the joins by their job.
    (number,) = {join["job"] for join in state["joins"]}
    assert number.isdecimal()
    assert number != state["job_id"]
    site.dask_runner("stop", "lab")

    served, joined = serving.wait(), joining.wait()
    assert served.returncode == 0, site.told(served, "serve")
    assert joined.returncode == 0, site.told(joined, "join")
    site.check_left()


# The rank of one node has options that are wrong.
START = """\
#!/bin/sh
[ "$(hostname)" = c2 ] && export DASK_RUNNER__NTHREADS=many
exec /usr/bin/apptainer run "$@"
"""


@pytest.mark.system("Grid Engine", "a failed rank")
@pytest.mark.system("HTCondor", "a failed rank")
@pytest.mark.system("OAR", "a failed rank")
def test_a_rank_that_fails_ends_all_with_its_error(site: Site) -> None:
    site.write("script.py", SCRIPT)
    site.write("start", START)
    site.shell("chmod +x start")
    # As a site may have it, for its own ways of starting containers.
    options = f"{site.batch.options} --container {site.directory}/start"

    done = site.submit("script.py", options=options).wait()

    said = site.output()
    assert done.returncode == 78, site.told(done)
    # Where ranks are handed out, those that came may say that one did not.
    assert said.count("error: ") == 1 or "1 of 2 processes came" in said, said
    assert re.search(r"error: .*DASK_RUNNER__NTHREADS.*many", said), said
    assert "argv" not in said
    site.check_left()


def running_where_its_script_runs(site: Site) -> tuple[Any, str]:
    """Start a job whose first rank is on the host of its job script; return the host.

    The loss of that host is Grid Engine's and OAR's loss of the job, and that of rank 0
    is ours.
    The first process that comes is rank 0, so a job may have to be started anew.
    """
    for _ in range(TRIES):
        job = site.submit("script.py")
        site.wait_for("begun on")
        begun = re.search(r"begun on (\w+)", site.output())
        assert begun
        if site.batch is HTCONDOR:
            return job, begun[1]
        if site.batch is OAR:
            runs = f"assigned_hostnames = {begun[1]}+" in site.shell("oarstat -f")
        else:
            runs = f"all.q@{begun[1]}" in site.shell("qstat")
        if runs:
            return job, begun[1]
        site.shell(site.batch.cancel)
        job.wait()
        site.shell("rm job.out")
    pytest.fail(f"rank 0 was elsewhere {TRIES} times")


@pytest.mark.system("Grid Engine", "a lost node")
@pytest.mark.system("HTCondor", "a lost node")
@pytest.mark.system("OAR", "a lost node")
def test_a_script_goes_on_without_a_node_that_loses_its_power(site: Site) -> None:
    site.write("script.py", WAITS)
    job, here = running_where_its_script_runs(site)
    (other,) = {*NODES} - {here}

    site.cluster.node(other).kill()
    try:
        site.wait_for("fewer")
        site.wait_for("ended with status 0")
    finally:
        site.cluster.node(other).restore()
    assert re.search(rf"warning: lost rank \d on {other}: ", site.output())

    if site.batch is HTCONDOR:
        # It takes a parallel job without one of its nodes for failed, and begins anew.
        site.shell(site.batch.cancel)
        job.wait()
    else:
        done = job.wait()
        assert done.returncode == 0, site.told(done)
    site.check_left()


@pytest.mark.system("Grid Engine", "taken away")
@pytest.mark.system("HTCondor", "taken away")
@pytest.mark.system("OAR", "taken away")
def test_of_a_job_that_is_taken_away_nothing_goes_on(site: Site) -> None:
    site.write("script.py", WAITS)
    job = site.submit("script.py")
    site.wait_for("begun on")

    site.shell(site.batch.cancel)

    done = job.wait()
    in_order = "ended with status 143" in site.output()
    assert in_order is site.batch.in_order, site.told(done)
    site.check_left()


SCALES = """\
import json, sys, time
from distributed import Client
from dask_runner import Cluster

def are(count):
    latest = time.monotonic() + 90
    while len(client.scheduler_info(n_workers=-1)["workers"]) != count:
        assert time.monotonic() < latest, client
        time.sleep(0.1)

cluster = Cluster.from_name("lab")
client = Client(cluster)
are(1)
cluster.scale(jobs=1, job=json.loads(sys.argv[1]))
are(2)
cluster.scale(jobs=0)
are(1)
print("scaled")
"""
#: Copies the image's packages, for the Python of the login node.
PACKAGES = (
    "python -c 'import dask, shutil, sys;"
    ' shutil.copytree(dask.__path__[0] + "/..", sys.argv[1])\' packages'
)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("up", "job"),
    [
        pytest.param(
            GRID_ENGINE,
            {"parallel_environment": "mpi"},
            marks=pytest.mark.xdist_group("sge"),
            id="sge",
        ),
        pytest.param(
            HTCONDOR, {}, marks=pytest.mark.xdist_group("htcondor"), id="htcondor"
        ),
    ],
    indirect=["up"],
)
def test_a_program_submits_jobs_that_join_and_sees_them_off(
    site: Site, job: dict[str, str]
) -> None:
    site.write("scales.py", SCALES)
    site.shell(f"apptainer exec {SIF} {PACKAGES}")
    options = site.batch.options.replace("-N 2", "-N 1")
    serving = site.submit("serve", "--name", "lab", options=options)
    site.wait_for("ready after")

    told = json.dumps({"image": SIF, "output": "more.out", **job})
    line = shlex.join(["python3", "scales.py", told])
    assert site.shell(f"PYTHONPATH=packages {line}") == "scaled\n"

    assert "left the cluster: stopped by user" in site.output("more")
    site.dask_runner("stop", "lab")
    served = serving.wait()
    assert served.returncode == 0, site.told(served)
    site.check_left()
