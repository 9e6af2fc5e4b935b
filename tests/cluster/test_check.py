"""What check says inside an image of the node around it, and what srun then does."""

import json
from typing import Any

import pytest

from tests.cluster.jobs import SIF, Jobs, told

# Open MPI 5 may crash where a message comes before MPI_Init has ended
# (https://github.com/open-mpi/ompi/issues/12495, open on 2026-11-30).
WORLD = """\
import time
from pathlib import Path
from mpi4py import MPI
world = MPI.COMM_WORLD
here, there = world.rank, (world.rank + world.size // 2) % world.size
if world.size > 1:
    Path(f"began.{here}").touch()
    while len(list(Path().glob("began.*"))) < world.size:
        time.sleep(0.01)
    got = bytearray(4 << 20)
    world.Sendrecv(bytearray([here]) * len(got), there, 0, got, there, 0)
    assert set(got) == {there}
print(world.size, flush=True)
"""

# Open MPI's leftovers of tasks that are worlds of their own, and what they say.
LEFT = r"began\.|ompi\.|prte\.|sm_segment|vader|/dev/shm|pmix"


def check(jobs: Jobs, *words: str) -> dict[str, Any]:
    """Return what check says; it takes 2 s, and minutes on a busy machine."""
    done = jobs.cluster.run(list(words), timeout=200)
    assert done.returncode == 0, told(done)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("plugin", ["pmi2", "pmix"])
def test_check_in_the_image_says_of_srun_what_srun_then_does(
    jobs: Jobs, plugin: str
) -> None:
    jobs.write("world.py", WORLD)
    found = check(jobs, "apptainer", "run", "--bind", "/:/host", SIF, "check", "--json")

    done = jobs.python(f"-N2 -n4 --mpi={plugin}", "world.py").wait(
        stray=".*", leaves=LEFT
    )

    (way,) = (
        way
        for way in found["ways"]
        if way["model"] == "hybrid" and f"--mpi={plugin}" in way["way"].split()
    )
    works = done.returncode == 0 and done.stdout.split() == ["4"] * 4
    assert way["verdict"] == ("compatible" if works else "incompatible"), told(done)
    assert found["verdict"] == "compatible"
    assert found["do"] == [f"srun --mpi=pmix apptainer exec {SIF} PROGRAM"]
    assert found["trap"].startswith("this site has MpiDefault=none, so srun without")


def test_check_reads_a_sif_on_a_node_without_starting_it(jobs: Jobs) -> None:
    # The image lends its Python alone; unsquashfs and its libraries are the node's.
    found = check(
        jobs,
        *("apptainer", "exec", "--bind", "/:/host", "--bind", "/usr/bin/unsquashfs"),
        *("--env", "LD_LIBRARY_PATH=/host/usr/lib/x86_64-linux-gnu"),
        *(SIF, "dask-runner", "check", "--json", "--host", "/host", f"/host{SIF}"),
    )

    assert found["verdict"] == "compatible"
    assert [each["version"] for each in found["image"]["libraries"]] == ["5.0.7"]
    assert found["image"]["notes"] == found["host"]["notes"] == []
