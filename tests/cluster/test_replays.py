"""Systems that nobody here can run, by their variables and names: see replayed.py."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.conftest import NAME
from tests.cluster.replayed import FLUX, LSF, NODES, OAR, OPTIONS, PBS, SSH, Site
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

#: They share hosts, which are started once.
pytestmark = pytest.mark.xdist_group("replays")

#: The last of them in `make test`, the others with the long tests.
ALL = [
    pytest.param(PBS, id="pbs"),
    pytest.param(LSF, id="lsf", marks=pytest.mark.heavy),
    pytest.param(OAR, id="oar", marks=pytest.mark.heavy),
    pytest.param(FLUX, id="flux", marks=pytest.mark.heavy),
]

SCRIPT = """\
import json, socket, sys
from distributed import Client
client = Client()
client.wait_for_workers(2)
print(json.dumps([sys.argv, sorted(client.run(socket.gethostname).values())]))
sys.exit(3)
"""
ARGS = ("a  b", "it's", "$HOME", "")

WAITS = """\
import socket, time
from distributed import Client
client = Client()
client.wait_for_workers(2)
print("begun on", socket.gethostname(), flush=True)
while len(client.scheduler_info(n_workers=-1)["workers"]) == 2:
    time.sleep(0.1)
print("fewer", flush=True)
"""

#: The rank of one host has options that are wrong.
START = """\
#!/bin/sh
[ "$(hostname)" = c2 ] && export DASK_RUNNER__NTHREADS=many
exec /usr/bin/apptainer -s run "$@"
"""

#: Jobs until one begins where it has to.
TRIES = 10


@pytest.fixture(scope="module")
def hosts(
    engine: Any,
    shown: None,
    worker: str,
    require: Callable[..., AbstractContextManager[None]],
) -> Iterator[Any]:
    """Three hosts with a shared home, of which two are a job's."""
    del shown
    from ci.slurm.cluster import Cluster  # noqa: PLC0415  only where containers are
    from containers import node_image  # noqa: PLC0415  as above

    cluster = Cluster(f"{NAME}{worker}-hosts", system="hosts", client=engine)
    with require("a mirror of Debian with sshd and Apptainer", "cluster"):
        node_image.ensure_slurm_image(engine)
    was_up = bool(cluster.members()) and not worker
    cluster.up()
    yield cluster
    if not was_up:
        cluster.down()


@pytest.fixture
def site(hosts: Any, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site of a system."""
    site = Site(hosts, request.param, f"/home/user/it's a job {secrets.token_hex(2)}")
    yield site
    site.discard()


each = pytest.mark.parametrize("site", ALL, indirect=True)


def nothing_stays(site: Site) -> None:
    until(lambda: not site.left(), 30, site.left, every=0.2)


@pytest.mark.system("PBS", "main job", "replayed")
@pytest.mark.system("LSF", "main job", "replayed")
@pytest.mark.system("OAR", "main job", "replayed")
@pytest.mark.system("Flux", "main job", "replayed")
@each
def test_a_script_runs_on_two_hosts_and_its_status_is_the_jobs(site: Site) -> None:
    site.write("script.py", SCRIPT)

    job = site.submit("script.py", *ARGS)

    statuses = job.wait()
    assert max(statuses) == 3, job.output
    (line,) = (one for one in job.output.splitlines() if one.startswith("["))
    assert json.loads(line) == [["script.py", *ARGS], list(NODES)], job.output
    nothing_stays(site)


@pytest.mark.system("PBS", "serve", "replayed")
@pytest.mark.system("PBS", "join", "replayed")
@pytest.mark.system("LSF", "serve", "replayed")
@pytest.mark.system("LSF", "join", "replayed")
@pytest.mark.system("OAR", "serve", "replayed")
@pytest.mark.system("OAR", "join", "replayed")
@pytest.mark.system("Flux", "serve", "replayed")
@pytest.mark.system("Flux", "join", "replayed")
@each
def test_a_cluster_is_served_by_one_job_and_joined_by_another(site: Site) -> None:
    serving = site.submit("serve", "--name", "lab")
    serving.wait_for("ready after")
    joining = site.submit("join", "lab")
    joining.wait_for("joined the cluster lab")
    code = (
        "from distributed import Client; client = Client();"
        "client.wait_for_workers(4, timeout=60); print(len(client.nthreads()))"
    )
    assert site.dask_runner("connect", "lab", "-c", code) == "4\n"
    site.dask_runner("stop", "lab")

    assert set(serving.wait()) == {0}, serving.output
    assert set(joining.wait()) == {0}, joining.output
    nothing_stays(site)


@pytest.mark.system("PBS", "a failed rank", "replayed")
@pytest.mark.system("LSF", "a failed rank", "replayed")
@pytest.mark.system("OAR", "a failed rank", "replayed")
@pytest.mark.system("Flux", "a failed rank", "replayed")
@each
def test_a_rank_that_fails_ends_all_with_its_error(site: Site) -> None:
    site.write("script.py", SCRIPT)
    site.write("start", START, mode=0o755)

    job = site.submit("script.py", container="./start")

    assert max(job.wait()) == 78, job.output
    assert job.output.count("error: ") == 1, job.output
    assert re.search(r"error: .*DASK_RUNNER__NTHREADS.*many", job.output), job.output
    nothing_stays(site)


@pytest.mark.heavy
@pytest.mark.system("PBS", "taken away", "replayed")
@pytest.mark.system("LSF", "taken away", "replayed")
@pytest.mark.system("Flux", "taken away", "replayed")
@pytest.mark.parametrize(
    "site",
    [pytest.param(one, id=one.name or "flux") for one in (PBS, LSF, FLUX)],
    indirect=True,
)
def test_of_a_job_that_is_taken_away_nothing_goes_on(site: Site) -> None:
    site.write("script.py", WAITS)
    job = site.submit("script.py")
    job.wait_for("begun on")

    site.take_away()

    assert 0 not in job.wait(), job.output
    nothing_stays(site)


def begun_on_the_first(site: Site) -> Any:
    """Start a job whose rank 0 is on the host of its job script.

    The first process that comes is rank 0, so a job may have to be started anew.
    """
    for _ in range(TRIES):
        job = site.submit(*OPTIONS, "script.py")
        job.wait_for("begun on")
        if "begun on c1" in job.output:
            return job
        for node in NODES:
            site.cluster.run("pkill -TERM -u user -f dask", node=node, user="root")
        job.wait()
        nothing_stays(site)
    pytest.fail(f"rank 0 was elsewhere {TRIES} times")


@pytest.mark.heavy
@pytest.mark.system("PBS", "a lost node", "replayed")
@pytest.mark.system("LSF", "a lost node", "replayed")
@pytest.mark.system("OAR", "a lost node", "replayed")
@pytest.mark.system("Flux", "a lost node", "replayed")
@each
def test_a_script_goes_on_without_a_host_that_loses_its_power(site: Site) -> None:
    site.write("script.py", WAITS)
    job = begun_on_the_first(site)

    site.cluster.node("c2").kill()
    try:
        job.wait_for("fewer")
        statuses = job.wait()
    finally:
        site.cluster.node("c2").restore()
        # As a machine that has lost its power, it has kept its disk.
        line = "rm -rf /tmp/dask-runner-* /var/tmp/dask-runner-*"
        site.cluster.run(line, node="c2", user="root")
    # A connection that is lost has a status of ssh's own.
    assert statuses[0] in (0, SSH), job.output
    assert "ended with status 0" in job.output
    assert re.search(r"warning: lost rank \d on c2: ", job.output), job.output
    nothing_stays(site)
