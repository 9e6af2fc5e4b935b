"""The lines of docs/runtimes.md: the image in Podman, rootless, and in Charliecloud."""

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.cluster import runtimes
from tests.cluster.jobs import Job, Jobs, told
from tests.cluster.runtimes import PODMAN, STAYS
from tests.cluster.test_join import names, workers
from tests.cluster.test_packages import TWO_NODES, packages
from tests.cluster.test_packages import env as wheels  # noqa: F401  a fixture
from tests.cluster.test_serve import image as sif

# They take half a minute to be made ready, so once.
pytestmark = pytest.mark.xdist_group("runtimes")

SCRIPT = """\
import json, os, socket, sys
from distributed import Client
client = Client()
workers = client.scheduler_info(n_workers=-1)["workers"].values()
places = client.run(lambda: (socket.gethostname(), os.getppid()))
print(json.dumps({
    "argv": sys.argv,
    "workers": sorted(str(worker["id"]) for worker in workers),
    "nodes": sorted({host for host, _ in places.values()}),
    "parents": len(set(places.values())),
}))
sys.exit(3)
"""

ARGS = """script.py 'a b' '$HOME' "it's" """

# Goes on when a worker is lost.
WAITS = """\
import time
from distributed import Client
client = Client()
def workers():
    return len(client.scheduler_info(n_workers=-1)["workers"])
before = workers()
print("begun", flush=True)
while workers() == before:
    time.sleep(0.1)
print("fewer", flush=True)
"""


@pytest.fixture(scope="module")
def ready(
    cluster: Any,
    image: Any,
    require: Callable[..., AbstractContextManager[None]],
) -> None:
    """Podman and Charliecloud have the image."""
    with require("user namespaces, for Podman and Charliecloud", "cluster"):
        runtimes.prepare(cluster, image)


@pytest.fixture
def runs(ready: None, jobs: Jobs) -> Jobs:
    """Run jobs where the image is there."""
    del ready
    return jobs


def ends(job: Job, status: int, stray: str = PODMAN) -> Any:
    """Wait for its end, which leaves nothing but what the runtimes keep."""
    done = job.wait(stray=stray, leaves=STAYS)
    assert done.returncode == status, told(done)
    return done


@pytest.mark.system("Podman", "main job")
@pytest.mark.system("Charliecloud", "main job")
@pytest.mark.parametrize("name", ["podman on one node", "charliecloud on one node"])
def test_a_script_runs_on_one_machine(runs: Jobs, name: str) -> None:
    runs.write("script.py", SCRIPT)

    done = ends(runtimes.start(runs, name, ARGS, node="c1"), 3)

    said = json.loads(done.stdout)
    assert said["argv"] == ["script.py", "a b", "$HOME", "it's"], told(done)
    assert (said["workers"], said["nodes"]) == (["0", "1", "2", "3"], ["c1"]), told(
        done
    )


@pytest.mark.system("Podman", "two nodes under Slurm")
@pytest.mark.system("Charliecloud", "two nodes under Slurm")
@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("podman", ["0", "0-1", "1", "1-1"]),
        ("podman with many tasks a node", ["0", "1", "2", "3"]),
        ("charliecloud", ["0", "1", "2", "3"]),
    ],
)
def test_a_script_runs_on_two_nodes_each_of_which_imports_dask_once(
    runs: Jobs, name: str, workers: list[str]
) -> None:
    runs.write("script.py", SCRIPT)

    done = ends(runtimes.start(runs, name, ARGS), 3)

    assert json.loads(done.stdout) == {
        "argv": ["script.py", "a b", "$HOME", "it's"],
        "workers": workers,
        "nodes": ["c1", "c2"],
        # One leader plays for all ranks of its node, whose workers are one's children.
        "parents": 2,
    }, told(done)
    # Where ssh finds it, if it is not in the container alone.
    assert re.search(r"-L 8787:/tmp/\S+ user@c1", done.stderr), told(done)


FAILS = "'[ $SLURM_PROCID = 1 ] && export DASK_RUNNER__NTHREADS=many; exec \"$@\"' sh"


@pytest.mark.system("Apptainer", "a failed rank")
@pytest.mark.system("Podman", "a failed rank")
@pytest.mark.system("Charliecloud", "a failed rank")
@pytest.mark.parametrize("name", ["apptainer", "podman", "charliecloud"])
def test_a_rank_that_fails_ends_all_at_once_with_its_error(
    runs: Jobs, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    runs.write("script.py", SCRIPT)
    line = runtimes.documented(name)
    failing, count = re.subn(
        "(?= setsid| ch-run| apptainer)", f" sh -c {FAILS}", line, count=1
    )
    assert count == 1, line
    monkeypatch.setattr(runtimes, "documented", lambda _: failing)

    done = ends(runtimes.start(runs, name), 78)

    assert "many" in done.stderr, told(done)
    assert not done.stdout, told(done)
    assert done.seconds < 30, told(done)


@pytest.mark.heavy
def test_ranks_that_podman_keeps_all_variables_from_say_that_they_are_alone(
    runs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.write("script.py", SCRIPT)
    line = runtimes.documented("podman").replace("-e 'SLURM*' ", "")
    monkeypatch.setattr(runtimes, "documented", lambda _: line)

    done = ends(runtimes.start(runs, "podman"), 3)

    assert done.stderr.count("a cluster of one. If srun started this") == 2, told(done)
    assert done.stdout.count("argv") == 2, told(done)


@pytest.mark.system("Podman", "a killed container")
@pytest.mark.system("Charliecloud", "a killed container")
@pytest.mark.parametrize(
    ("name", "kill"),
    [
        ("podman", "podman kill --all"),
        ("podman with many tasks a node", "podman kill --all"),
        ("charliecloud", "pkill -KILL -x dask-runner"),
    ],
)
def test_a_container_that_is_killed_is_named_and_the_script_goes_on(
    runs: Jobs, name: str, kill: str
) -> None:
    runs.write("script.py", WAITS)
    job = runtimes.start(runs, name)
    job.wait_for("begun")

    runtimes.run(runs.cluster, kill, node="c2")

    done = ends(job, 137)
    assert done.stdout.endswith("fewer\n"), told(done)
    assert re.search(r"warning: lost ranks? \d on c2: ", done.stderr), told(done)
    assert "ended with status 0" in done.stderr, told(done)


#: Where several tasks of a node are a node.
MANY = pytest.mark.parametrize(
    "name", ["podman with many tasks a node", "charliecloud"]
)


@pytest.mark.heavy
@pytest.mark.system("Podman", "serve")
@pytest.mark.system("Podman", "join")
@pytest.mark.system("Charliecloud", "serve")
@pytest.mark.system("Charliecloud", "join")
@MANY
def test_a_cluster_is_served_joined_by_another_job_used_and_stopped(
    runs: Jobs, name: str
) -> None:
    args = "serve --name lab"
    serving = runtimes.start(runs, name, args, nodes="-N1 -n1 -w c1")
    serving.wait_for("ready after")
    joining = runtimes.start(runs, name, "join lab", nodes="-N1 -n1 -w c2")
    workers(runs, 2)
    assert names(runs) == ["0", "j1.0"]

    sif(runs, "stop", "lab")

    joined = joining.running.wait()
    assert joined.returncode == 0, told(joined)
    done = ends(serving, 0)
    assert re.search(r"join j1: 1 rank of slurm job \d+\n", done.stderr), told(done)


@pytest.mark.heavy
@pytest.mark.usefixtures("wheels")
@MANY
def test_packages_are_added_on_both_nodes(runs: Jobs, name: str) -> None:
    wanted = f"--no-index\n--find-links {runs.directory}/wheels\nextra\n"
    runs.write("wanted.txt", wanted)
    cache = {"DASK_RUNNER__PACKAGE_CACHE": f"{runs.directory}/cache"}
    args = "--with-requirements wanted.txt script.py"
    for how in ("resolved", "from"):
        job = runtimes.start(runs, name, args, nodes=TWO_NODES, env=cache)
        assert packages(ends(job, 0)) == how


@pytest.mark.system("Podman", "scancel")
@pytest.mark.system("Charliecloud", "scancel")
@pytest.mark.parametrize(
    "name", ["podman", "podman with many tasks a node", "charliecloud"]
)
def test_a_job_that_is_cancelled_ends_in_order_and_leaves_no_container(
    runs: Jobs, name: str
) -> None:
    runs.write("script.py", WAITS)
    job = runtimes.start(runs, name)
    job.wait_for("begun")

    runs.shell("scancel", "--user=user")

    done = ends(job, 143, stray=".*")
    assert "ended with status 143" in done.stderr, told(done)


# The last, as a node that comes back has to settle.
@pytest.mark.heavy
@pytest.mark.system("Podman", "a lost node")
@pytest.mark.system("Charliecloud", "a lost node")
@MANY
def test_a_script_goes_on_without_a_node_that_loses_its_power(
    runs: Jobs, name: str
) -> None:
    runs.write("script.py", WAITS)
    job = runtimes.start(runs, name)
    job.wait_for("begun")

    runs.cluster.node("c2").kill()
    try:
        job.wait_for("fewer")
        job.wait_for("ended with status 0")
        # The status is that which Slurm gives a step that has lost a node. Where the
        # node came back before, srun would wait for its tasks.
        done = job.running.wait()
    finally:
        runs.cluster.node("c2").restore()

    runs.check_left((), rf"{STAYS}|^c2: ", told(done))
    # The script may be over before the hub takes the node for lost, and says so.
    assert done.stdout == "begun\nfewer\n", told(done)
