"""A launcher whose variables were lost on the way."""

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.own_variables import NTASKS_VARIABLE
from dask_runner.mpi import lost_launcher
from dask_runner.mpi.surroundings import Surroundings

IN_APPTAINER = {"APPTAINER_CONTAINER": "/images/x.sif"}
STARTER = "Apptainer runtime parent: x.sif"

# As they were seen from inside a container on a node.
TASKS = {
    "srun": "slurmstepd: [34.0]",
    "mpiexec of MPICH or Intel MPI": "/usr/bin/hydra_pmi_proxy --control-port c1:4256",
    "mpirun of Open MPI 5": "prterun -n 4 apptainer exec -e x.sif python",
    "mpirun of Open MPI 4": "orted -mca ess env",
}


@pytest.mark.parametrize(("name", "words"), TASKS.items(), ids=TASKS)
def test_a_task_whose_environment_was_emptied_is_refused(name: str, words: str) -> None:
    around = Surroundings((STARTER, "bash job.sh", words, "/sbin/init"))

    with pytest.raises(ConfigError, match="emptied on the way") as caught:
        lost_launcher.refuse(IN_APPTAINER, around)

    assert caught.value.saw.startswith(f"{name} started this")
    assert caught.value.status == 78


FREE = {
    "a shell": (IN_APPTAINER, Surroundings((STARTER, "-bash", "sshd: user@pts/0"))),
    "a batch script": (IN_APPTAINER, Surroundings((STARTER, "slurmstepd: [34.batch]"))),
    "no container": ({}, Surroundings(("slurmstepd: [34.0]",))),
    "somebody at a terminal": (
        IN_APPTAINER,
        Surroundings((STARTER, "slurmstepd: [34.0]"), terminal=True),
    ),
    "processes that cannot be seen": (IN_APPTAINER, Surroundings(("appinit",))),
    "one task": (IN_APPTAINER | {NTASKS_VARIABLE: "1"}, Surroundings()),
}


@pytest.mark.parametrize(("environ", "around"), FREE.values(), ids=FREE)
def test_who_is_no_task_is_left_alone(
    environ: dict[str, str], around: Surroundings
) -> None:
    lost_launcher.refuse(environ, around)


def test_a_hint_from_outside_tells_where_nothing_can_be_seen() -> None:
    with pytest.raises(ConfigError, match=f"{NTASKS_VARIABLE}=4"):
        lost_launcher.refuse({NTASKS_VARIABLE: "4"}, Surroundings(("appinit",)))
