"""A cluster without a script on two nodes, used from the login node."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.jobs import SIF, told

if TYPE_CHECKING:
    from tests.cluster.jobs import Job, Jobs

#: A program of the user's on the login node, which knows of Dask alone.
ATTACH = """\
import json, os, socket
from distributed import Client, Security
file = json.load(open(os.path.expanduser("~/.dask-runner/cluster-lab.json")))
client = Client(file["address"], security=Security(**file["security"]))
print(*sorted(set(client.run(socket.gethostname).values())))
"""

#: Writes into the log of the second worker.
WARN = """\
import logging
from distributed import Client
write = logging.getLogger("distributed.worker").warning
Client().submit(write, "of the second node", workers=[1]).result()
"""


def image(jobs: Jobs, *args: str, status: int = 0) -> tuple[str, str]:
    """Run ``apptainer run SIF ARGS`` on the login node; return what it prints."""
    done = jobs.start("apptainer", "run", SIF, *args).running.wait()
    assert done.returncode == status, told(done)
    return done.stdout, done.stderr


def listed(jobs: Jobs) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(image(jobs, "list", "--json")[0])[
        "clusters"
    ]
    return found


def serve(jobs: Jobs, options: str, *args: str) -> Job:
    job = jobs.srun(options, "serve", "--name", "lab", *args)
    job.wait_for("ready after")
    return job


@pytest.mark.system("Apptainer", "serve")
@pytest.mark.system("Slurm", "serve")
@pytest.mark.parametrize("options", ["--time=60 -N2 -n4", "-N1 -n1"])
def test_it_is_listed_used_and_stopped_from_the_login_node(
    jobs: Jobs, options: str
) -> None:
    job = serve(jobs, options)

    (found,) = listed(jobs)
    ranks = int(options[-1])
    assert (found["name"], found["workers"]) == ("lab", ranks)
    assert found["launcher"] == "slurm"
    assert (found["ends_at"] > found["began"]) is ("--time" in options)

    jobs.write("attach.py", ATTACH)
    used = jobs.start("apptainer", "exec", SIF, "python", "attach.py").running.wait()
    assert used.stdout.split() == (["c1", "c2"] if ranks > 1 else ["c1"]), told(used)

    assert "the cluster 'lab' has ended" in image(jobs, "stop", "lab")[1]
    done = job.wait()
    assert done.returncode == 0, told(done)
    assert re.search("stopped by user on login", done.stderr)
    assert listed(jobs) == []


def test_the_cluster_of_a_script_is_there_under_its_jobs_number(jobs: Jobs) -> None:
    job = jobs.srun("-N2 -n2", "-c", "import time; time.sleep(600)")
    job.wait_for("ready after")

    (found,) = listed(jobs)
    assert found["name"] == found["job_id"]
    assert not found["serves"]

    image(jobs, "stop", found["name"])
    assert job.wait().returncode == 143


def test_it_ends_in_order_before_its_job_does(jobs: Jobs) -> None:
    # Slurm's shortest time limit is a minute.
    job = serve(jobs, "-N2 -n2 --time=1", "--stop-before", "50")
    done = job.wait()
    assert done.returncode == 0, told(done)
    assert "the cluster ends" in done.stderr


def test_scancel_ends_it_with_its_signal(jobs: Jobs) -> None:
    job = serve(jobs, "-N2 -n2")
    jobs.shell("scancel", listed(jobs)[0]["job_id"])
    assert job.wait(stray=r"(slurmstepd|srun)\S*: .*").returncode == 143
    assert listed(jobs) == []


def test_a_cluster_whose_nodes_are_killed_is_not_in_the_way(jobs: Jobs) -> None:
    job = serve(jobs, "-N2 -n2")
    # All at once, with whatever would tidy up.
    jobs.shell("scancel", "--signal=KILL", listed(jobs)[0]["job_id"])
    job.running.wait()
    again = serve(jobs, "-N2 -n2")
    (found,) = listed(jobs)
    assert found["answers"]
    image(jobs, "stop", "lab")
    again.wait(leaves=r".")


def test_a_name_in_use_is_told_with_its_job_and_node(jobs: Jobs) -> None:
    job = serve(jobs, "-n1")
    second = jobs.srun("-n1", "serve", "--name", "lab").running.wait()
    assert second.returncode == 78, told(second)
    assert "a cluster named 'lab' is running on c1 in slurm job " in second.stderr
    image(jobs, "stop", "lab")
    assert job.wait().returncode == 0


def test_its_logs_are_read_and_followed_from_the_login_node(jobs: Jobs) -> None:
    job = serve(jobs, "-N2 -n2")

    shown, errors = image(jobs, "logs")
    assert errors == ""
    names = {line.partition(" | ")[0] for line in shown.splitlines()}
    assert names == {"scheduler", "agent@c1", "agent@c2", "0", "1"}

    followed = jobs.start("apptainer", "run", SIF, "logs", "lab", "1", "-f")
    followed.wait_for("Worker name")
    image(jobs, "connect", "lab", "-c", WARN)
    followed.wait_for("of the second node")
    image(jobs, "stop", "lab")
    done = followed.running.wait()
    assert done.returncode == 0, told(done)
    assert "the cluster 'lab' has ended with status 0" in done.stderr
    assert job.wait().returncode == 0
