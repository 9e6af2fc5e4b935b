"""Ranks handed out over the home that nodes share: by a job array, and by ssh."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.cluster.jobs import SIF

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs

WHO = """
import json, socket
from distributed import Client
client = Client()
client.wait_for_workers(3)
print(json.dumps(sorted(client.run(socket.gethostname).values())))
"""


def test_the_elements_of_an_array_are_a_cluster(cluster: Any, jobs: Jobs) -> None:
    jobs.write("who.py", WHO)
    run = f"apptainer -s run {SIF} --size auto --name array who.py"
    line = (
        "sbatch --wait --array=0-2 --nodes=1 --exclusive=user --cpus-per-task=8 "
        f"--output=out-%a --wrap {run!r}"
    )
    done = cluster.run(line, cwd=jobs.directory, timeout=150)
    said = cluster.run("cat out-0 out-1 out-2", cwd=jobs.directory).stdout
    assert done.returncode == 0, said
    (found,) = (json.loads(x) for x in said.splitlines() if x.startswith("["))
    assert len(found) == 3
    assert set(found) == {"c1", "c2"}
    assert "slurm job" in said


def test_a_loop_of_ssh_is_a_cluster(cluster: Any, jobs: Jobs) -> None:
    jobs.write("who.py", WHO)
    run = f"cd '{jobs.directory}'; apptainer -s run {SIF} --size 3 --name loop who.py"
    runs = [
        cluster.start(["ssh", name, run], timeout=120) for name in ("c1", "c2", "c1")
    ]
    done = [one.wait() for one in runs]
    assert [one.returncode for one in done] == [0, 0, 0], done
    (found,) = (json.loads(one.stdout) for one in done if one.stdout)
    assert found == ["c1", "c1", "c2"]
