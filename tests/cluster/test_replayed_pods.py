"""Kubernetes and AWS Batch, by their documents and variables: see replayed_pods.py."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.replayed_pods import (
    AWS_BATCH,
    GRACE_SECONDS,
    JOBSET,
    KILLED,
    KUBERNETES,
    LEADER_WORKER_SET,
    Site,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG, TERMINATED = 78, 143

SCRIPT = """\
import json, socket, sys
from distributed import Client
client = Client()
client.wait_for_workers(2)
print(json.dumps([sys.argv[1:], sorted(client.run(socket.gethostname).values())]))
sys.exit(3)
"""
ARGS = ("a  b", "it's", "$HOME", "$$(HOME)", "")

WAITS = """\
import time
from distributed import Client
client = Client()
client.wait_for_workers(2)
print("begun", flush=True)
while len(client.scheduler_info(n_workers=-1)["workers"]) == 2:
    time.sleep(0.1)
print("fewer", flush=True)
"""
#: The set starts again what has ended, so its clusters have no script.
CONNECT = (
    "from distributed import Client; client = Client();"
    "client.wait_for_workers({0}, timeout=60); print(len(client.nthreads()))"
)


#: Whether the pods have a volume in common.
SHARED, APART = True, False


def rows(shared: Any, light: Any, *heavy: Any) -> list[Any]:
    """Return a row for each system, of which the first is in ``make test``."""
    where = "shared" if shared else "apart"
    return [
        pytest.param(
            (one, shared),
            id=f"{one.name}-{where}",
            marks=() if one is light else pytest.mark.heavy,
        )
        for one in (light, *heavy)
        if one is not None
    ]


@pytest.fixture
def site(engine: Any, image: Any, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site of a system, whose pods share a directory or do not."""
    system, shared = request.param
    site = Site(engine, image.tags[0], system, shared=shared)
    yield site
    site.discard()


@pytest.mark.system("Kubernetes", "main job", "replayed")
@pytest.mark.system("JobSet", "main job", "replayed")
@pytest.mark.system("AWS Batch", "main job", "replayed")
@pytest.mark.parametrize(
    "site",
    [
        *rows(APART, KUBERNETES, JOBSET, AWS_BATCH),
        *rows(SHARED, None, KUBERNETES, JOBSET, AWS_BATCH),
    ],
    indirect=True,
)
def test_a_script_runs_in_two_pods_and_its_status_is_that_of_rank_0(site: Site) -> None:
    pods = site.submit("-c", SCRIPT, *ARGS)

    statuses = pods.wait()

    assert statuses[0] == 3, pods.output
    (line,) = (one for one in pods.output.splitlines() if one.startswith("["))
    args, hosts = json.loads(line)
    assert args == list(ARGS)
    assert len(set(hosts)) == 2


@pytest.mark.system("Kubernetes", "serve", "replayed")
@pytest.mark.system("JobSet", "serve", "replayed")
@pytest.mark.system("LeaderWorkerSet", "serve", "replayed")
@pytest.mark.system("AWS Batch", "serve", "replayed")
@pytest.mark.parametrize(
    "site",
    rows(APART, LEADER_WORKER_SET, KUBERNETES, JOBSET, AWS_BATCH),
    indirect=True,
)
def test_a_cluster_is_served_where_pods_share_nothing(site: Site) -> None:
    serving = site.submit("serve", "--name", "lab")
    serving.wait_for("ready after")

    assert site.inside(serving, "connect", "lab", "-c", CONNECT.format(2)) == "2\n"
    site.stop(serving)

    assert set(serving.wait()) == {0}, serving.output


@pytest.mark.system("Kubernetes", "join", "replayed")
@pytest.mark.system("JobSet", "join", "replayed")
@pytest.mark.system("LeaderWorkerSet", "join", "replayed")
@pytest.mark.system("AWS Batch", "join", "replayed")
@pytest.mark.parametrize(
    "site",
    rows(SHARED, KUBERNETES, JOBSET, LEADER_WORKER_SET, AWS_BATCH),
    indirect=True,
)
def test_a_cluster_is_joined_by_another_job_over_the_volume(site: Site) -> None:
    serving = site.submit("serve", "--name", "lab")
    serving.wait_for("ready after")
    joining = site.submit("join", "lab", name="more")
    joining.wait_for("joined the cluster lab")

    assert site.inside(serving, "connect", "lab", "-c", CONNECT.format(4)) == "4\n"
    site.stop(serving)

    assert set(serving.wait()) == {0}, serving.output
    assert set(joining.wait()) == {0}, joining.output


@pytest.mark.system("Kubernetes", "a failed rank", "replayed")
@pytest.mark.system("JobSet", "a failed rank", "replayed")
@pytest.mark.system("LeaderWorkerSet", "a failed rank", "replayed")
@pytest.mark.system("AWS Batch", "a failed rank", "replayed")
@pytest.mark.parametrize(
    "site",
    [
        *rows(APART, KUBERNETES, JOBSET, LEADER_WORKER_SET, AWS_BATCH),
        *rows(SHARED, None, KUBERNETES, JOBSET, LEADER_WORKER_SET, AWS_BATCH),
    ],
    indirect=True,
)
def test_a_pod_that_fails_ends_all_with_its_error(site: Site) -> None:
    pods = site.submit("serve", "--name", "lab", DASK_RUNNER__NTHREADS="many")

    assert pods.wait() == [CONFIG, CONFIG], pods.output
    assert pods.output.count("error: ") == 1, pods.output
    assert "DASK_RUNNER__NTHREADS = 'many'" in pods.output


@pytest.mark.system("Kubernetes", "a lost node", "replayed")
@pytest.mark.system("JobSet", "a lost node", "replayed")
@pytest.mark.system("AWS Batch", "a lost node", "replayed")
@pytest.mark.parametrize(
    "site",
    rows(APART, KUBERNETES, JOBSET, AWS_BATCH),
    indirect=True,
)
def test_a_script_goes_on_without_a_pod_that_is_killed(site: Site) -> None:
    pods = site.submit("-c", WAITS)
    pods.wait_for("begun")

    pods.containers[1].kill()

    assert pods.wait() == [0, KILLED], pods.output
    assert "fewer" in pods.output
    assert re.search(r"warning: lost rank 1 on ", pods.output), pods.output


@pytest.mark.system("LeaderWorkerSet", "a lost node", "replayed")
@pytest.mark.parametrize(
    "site",
    [*rows(APART, None, LEADER_WORKER_SET), *rows(SHARED, None, LEADER_WORKER_SET)],
    indirect=True,
)
def test_a_set_that_is_made_anew_is_served_again_under_its_name(site: Site) -> None:
    serving = site.submit("serve", "--name", "lab")
    serving.wait_for("ready after")

    serving.containers[1].kill()
    serving.wait_for("warning: lost rank 1 on ")
    # As RecreateGroupOnPodRestart has it: the other pod is deleted as well.
    serving.delete()
    assert serving.wait() == [TERMINATED, KILLED], serving.output
    again = site.submit("serve", "--name", "lab", group=serving.group)
    again.wait_for("ready after")

    assert site.inside(again, "connect", "lab", "-c", CONNECT.format(2)) == "2\n"
    site.stop(again)
    assert set(again.wait()) == {0}, again.output


@pytest.mark.system("Kubernetes", "taken away", "replayed")
@pytest.mark.system("JobSet", "taken away", "replayed")
@pytest.mark.system("AWS Batch", "taken away", "replayed")
@pytest.mark.system("LeaderWorkerSet", "taken away", "replayed")
@pytest.mark.parametrize(
    "site",
    rows(APART, None, KUBERNETES, JOBSET, AWS_BATCH, LEADER_WORKER_SET),
    indirect=True,
)
def test_pods_that_are_deleted_end_in_order_before_they_are_killed(site: Site) -> None:
    # Such a set runs no scripts.
    served = site.system is LEADER_WORKER_SET
    what = ("serve", "--name", "lab") if served else ("-c", WAITS)
    pods = site.submit(*what)
    pods.wait_for("ready after" if served else "begun")

    began = time.monotonic()
    pods.delete()

    # The others may have ended with rank 0 before they are told.
    of_first, of_other = pods.wait()
    assert of_first == TERMINATED, pods.output
    assert of_other in (0, TERMINATED), pods.output
    assert time.monotonic() - began < GRACE_SECONDS
    assert "ended with status 143" in pods.output
