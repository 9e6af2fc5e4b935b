"""The number of workers of a running cluster, as an attached program sets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.local.attaching import KNOWN, serving, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Run

pytestmark = pytest.mark.xdist_group("attach scaling")


@pytest.fixture(scope="module")
def lab() -> Iterator[Run]:
    """A cluster of four ranks that is there for all tests which leave it as it was."""
    with serving(4, timeout=600) as run:
        yield run


def test_workers_are_retired_with_their_data_and_started_again(lab: Run) -> None:
    code = """
import json, subprocess
cluster = Cluster.from_name("lab")
client = Client(cluster)
def names():
    return {str(one["name"]) for one in cluster.scheduler_info["workers"].values()}
data = client.map(lambda i: b"x" * 100_000 + bytes([i]), range(40))
client.gather(data[:1])
took = []
# At once, also where a worker has just come.
for number in (1, 4, 2, 3, 1, 4, 1, 4, 1, 4, 1, 4):
    began = time.perf_counter()
    cluster.scale(number)
    until(lambda: len(names()) == number)
    took.append(time.perf_counter() - began)
assert names() == {"0", "1", "2", "3"}
assert [one[-1] for one in client.gather(data)] == list(range(40))
def known():  # to the hub, which hears of a new worker after the scheduler
    line = [sys.executable, "-m", "dask_runner", "list", "--json"]
    done = subprocess.run(line, capture_output=True, check=True)
    return json.loads(done.stdout)["clusters"][0]["workers"]
until(lambda: known() == 4)
def pids():  # of those that stay
    return set(client.run(os.getpid, on_error="ignore").values())
before = client.run(os.getpid)
cluster.scale(1)
cluster.scale(4)
until(lambda: len(pids() - {*before.values()}) == 3)
cluster.scale(cores=3)
until(lambda: len(names()) == 3)
cluster.scale(4)
until(lambda: len(names()) == 4)
print(max(took))
"""
    # Well under a second where nothing else runs.
    assert float(told(lab, code)) < KNOWN
    assert "lost" not in lab.stderr


def test_each_cluster_object_sees_workers_come_and_go(lab: Run) -> None:
    code = """
clusters = [Cluster.from_name("lab") for _ in range(3)]
for number in (2, 4):
    clusters[1].scale(number)
    for cluster in clusters:
        until(lambda: len(cluster.scheduler_info["workers"]) == number)
    clusters.pop().close()
print(len(clusters))
"""
    assert told(lab, code) == "1\n"
    assert "overwriting" not in lab.stderr


def test_what_the_nodes_do_not_offer_is_refused_with_what_they_do(lab: Run) -> None:
    code = """
cluster = Cluster.from_name("lab")
for ask in (lambda: cluster.scale(0), lambda: cluster.scale(5),
            lambda: cluster.adapt(maximum=5), lambda: cluster.scale(memory="1 PiB")):
    try:
        ask()
    except Exception as error:
        print(type(error).__name__, error.needed)
print(len(cluster.scheduler_info["workers"]))
"""
    lines = told(lab, code).splitlines()
    assert [line.partition(" ")[0] for line in lines[:-1]] == ["ConfigError"] * 4
    assert all("1 to 4" in line for line in lines[:-1])
    assert lines[-1] == "4"


def test_a_cluster_that_is_closed_while_it_adapts_is_silent(lab: Run) -> None:
    code = """
import logging
logging.getLogger("distributed.deploy.adaptive").setLevel("WARNING")
for _ in range(5):
    with Cluster.from_name("lab") as cluster:
        adaptive = cluster.adapt(interval="1ms")
        until(lambda: adaptive.state == "running" and adaptive._adapting)
print("silent")
"""
    assert told(lab, code) == "silent\n"


def test_what_is_not_made_yet_does_not_adapt(lab: Run) -> None:
    # Dask starts the timer before it reads the last of its options.
    code = """
import logging
import distributed.deploy.adaptive as of_dask
logging.getLogger("distributed.deploy.adaptive").setLevel("WARNING")
read, calls = of_dask.parse_timedelta, []
def slow(*given):
    calls.append(given)
    if len(given) == 1:
        until(lambda: adapted)
    return read(*given)
of_dask.parse_timedelta = slow
from dask_runner.library.scaling import Adaptive
adapted, adapt = [], Adaptive.adapt
async def note(self):
    await adapt(self)
    adapted.append(hasattr(self, "target_duration"))
Adaptive.adapt = note
cluster = Cluster.from_name("lab")
cluster.adapt(interval="1ms", target_duration="5s").stop()
print(adapted[0])
"""
    assert told(lab, code) == "False\n"


def test_it_adapts_to_its_tasks(lab: Run) -> None:
    code = """
import logging
logging.getLogger("distributed.deploy.adaptive").setLevel("WARNING")
cluster = Cluster.from_name("lab")
client = Client(cluster)
count = lambda: len(cluster.scheduler_info["workers"])
adaptive = cluster.adapt(interval="50ms", target_duration="500ms", minimum=0)
until(lambda: count() == 1)
futures = client.map(lambda i: time.sleep(0.05), range(400), pure=False)
until(lambda: count() == 4)
client.gather(futures)
del futures
until(lambda: count() == 1)
adaptive.stop()
cluster.scale(4)
until(lambda: count() == 4)
print(adaptive.minimum, adaptive.maximum)
"""
    assert told(lab, code) == "1 4\n"


def test_a_cluster_of_one_worker_goes_on_when_its_rank_is_lost() -> None:
    with serving(3) as run:
        code = """
cluster = Cluster.from_name("lab")
client = Client(cluster)
workers = lambda: cluster.scheduler_info["workers"].values()
cluster.scale(1)
until(lambda: len(workers()) == 1)
os.kill(client.submit(os.getpid).result(), 9)
until(lambda: client.submit(lambda: 1, pure=False).result() == 1)
print(len(workers()))
cluster.scale(3)
until(lambda: len(workers()) == 3)
cluster.shutdown()
"""
        assert told(run, code) == "1\n"
        assert run.wait().status == 0
