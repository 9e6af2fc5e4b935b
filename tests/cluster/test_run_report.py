"""The report of a job on two nodes, one of which is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ci.slurm.parts import containers
from tests.cluster.jobs import told
from tests.cluster.test_failures import Victim
from tests.programs import BEGIN, BURN, UNTIL_TOLD
from tests.reports import valid

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs

MIB = 2**20

#: Each worker computes and holds memory; then the second node's has a result, and is
#: idle.
SCRIPT = f"""{BEGIN}{BURN}
from distributed import wait

wait([client.submit(burn, 3, workers=0, pure=False),
      client.submit(burn, 2, workers=1, pure=False)])
held = client.submit(bytes, 1_000_000, workers=1, allow_other_workers=True)
wait(held)
time.sleep(4)
{UNTIL_TOLD}
print(client.submit(len, held).result())
"""


def test_a_lost_node_is_in_the_report_with_what_it_had_told(jobs: Jobs) -> None:
    jobs.write("script.py", SCRIPT)
    job = jobs.srun("-N2 -n2 -c1", "--report", "r.json", "script.py")
    job.wait_for("begun")
    victim = Victim(jobs, job)
    victim.kill(victim.of_node("libexec/dask-runner --report", "c2"), "c2")
    job.wait_for("lost rank 1 on c2")
    victim.go_on()
    jobs.makes("r.json")
    done = victim.ends(137)  # srun's: the highest of its tasks
    text = jobs.shell("cat", "r.json")
    report = valid(text)
    assert done.stdout == "begun\n1000000\n", told(done)
    assert report["status"] == 0

    first, second = report["nodes"]
    assert (first["name"], second["name"]) == ("c1", "c2")
    assert (first["lost"], second["lost"]) == (None, "no connection any more")
    assert first["seconds"] > second["seconds"]
    # The CPU time of the tasks, and that of two starts.
    assert 3 <= first["cpu_seconds"] <= 3 + 15
    assert 2 <= second["cpu_seconds"] <= 2 + 15
    assert [worker["name"] for worker in report["workers"]] == ["0", "1"]
    assert all(
        150 * MIB < worker["memory_peak"] < 350 * MIB for worker in report["workers"]
    )
    assert all(node["memory_peak"] > 150 * MIB for node in report["nodes"])
    (loss,) = report["losses"]
    assert (loss["what"], loss["name"], loss["node"], loss["then"]) == (
        *("rank", "1", "c2"),
        "gone",
    )
    assert report["work"]["tasks_computed_again"] == 1
    # Two of the job's CPUs are idle for the longest time.
    assert report["work"]["idle"] > 0.1
    assert "lost: rank 1 on c2 after " in done.stderr, told(done)
    memory = json.loads(text)["memory"]["allotted"]
    assert f"of {memory / 2**30:.1f} GiB; " in done.stderr, told(done)


def cpu_seconds(container: Any) -> float:
    """Return the CPU time of all processes that a container has had."""
    told = container.stats(stream=False)["cpu_stats"]["cpu_usage"]["total_usage"]
    return float(told) / 1e9


def test_the_cpu_time_is_that_of_the_kernels_own_accounting(jobs: Jobs) -> None:
    """The node's container has a control group of its own: no Slurm accounts here."""
    jobs.write("script.py", SCRIPT.replace(UNTIL_TOLD, ""))
    nodes = {
        one.name.rpartition("-")[2]: one
        for one in containers(jobs.cluster.client, jobs.cluster.name)
        if one.name.rpartition("-")[2] in ("c1", "c2")
    }
    before = {name: cpu_seconds(one) for name, one in nodes.items()}
    done = jobs.srun("-N2 -n2 -c1", "--report", "r.json", "script.py").wait(
        makes=("r.json",)
    )
    after = {name: cpu_seconds(one) for name, one in nodes.items()}
    assert done.returncode == 0, told(done)
    report = valid(jobs.shell("cat", "r.json"))
    for node in report["nodes"]:
        used = after[node["name"]] - before[node["name"]]
        # Slurm's daemon, Apptainer and its mount are beside ours.
        assert used - 3 < node["cpu_seconds"] <= used + 0.2, (used, node)
