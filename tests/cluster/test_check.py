"""What check says inside an image of the node around it, and what srun then does."""

import json

import pytest

from tests.cluster.jobs import SIF, Jobs, told

WORLD = """\
from mpi4py import MPI
world = MPI.COMM_WORLD
here, there = world.rank, (world.rank + world.size // 2) % world.size
if world.size > 1:
    got = bytearray(4 << 20)
    world.Sendrecv(bytearray([here]) * len(got), there, 0, got, there, 0)
    assert set(got) == {there}
print(world.size, flush=True)
"""

# Open MPI's leftovers of tasks that are worlds of their own, and what they say.
LEFT = r"ompi\.|prte\.|sm_segment|vader|/dev/shm|pmix"


@pytest.mark.parametrize("plugin", ["pmi2", "pmix"])
def test_check_in_the_image_says_of_srun_what_srun_then_does(
    jobs: Jobs, plugin: str
) -> None:
    jobs.write("world.py", WORLD)
    said = jobs.shell("apptainer", "run", "--bind", "/:/host", SIF, "check", "--json")

    done = jobs.python(f"-N2 -n4 --mpi={plugin}", "world.py").wait(
        stray=".*", leaves=LEFT
    )

    found = json.loads(said)
    (way,) = (
        way
        for way in found["ways"]
        if way["model"] == "hybrid" and f"--mpi={plugin}" in way["way"].split()
    )
    works = done.returncode == 0 and done.stdout.split() == ["4"] * 4
    assert way["verdict"] == ("compatible" if works else "incompatible"), told(done)
    assert found["verdict"] == "compatible"
    assert found["do"] == [f"srun --mpi=pmix apptainer exec {SIF} PROGRAM"]


def test_check_reads_a_sif_on_a_node_without_starting_it(jobs: Jobs) -> None:
    # The image lends its Python alone; unsquashfs and its libraries are the node's.
    said = jobs.shell(
        *("apptainer", "exec", "--bind", "/:/host", "--bind", "/usr/bin/unsquashfs"),
        *("--env", "LD_LIBRARY_PATH=/host/usr/lib/x86_64-linux-gnu"),
        *(SIF, "dask-runner", "check", "--json", "--host", "/host", f"/host{SIF}"),
    )

    found = json.loads(said)
    assert found["verdict"] == "compatible"
    assert [each["version"] for each in found["image"]["libraries"]] == ["5.0.7"]
    assert found["image"]["notes"] == found["host"]["notes"] == []
