"""A launcher whose variables were lost on the way."""

from dataclasses import replace

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


IN_PODMAN = {"container": "podman"}
IN_STEP = Surroundings(("dumb-init",), step="34.0")


@pytest.mark.parametrize("environ", [IN_APPTAINER, IN_PODMAN])
def test_a_task_of_which_only_the_control_group_tells_is_refused(
    environ: dict[str, str],
) -> None:
    with pytest.raises(ConfigError, match="emptied on the way") as caught:
        lost_launcher.refuse(environ, IN_STEP)

    assert caught.value.saw.startswith("srun (Slurm's step 34.0, by the control group)")
    assert "-e 'SLURM*'" in caught.value.do


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
    "one task, said so": (IN_PODMAN | {NTASKS_VARIABLE: "1"}, IN_STEP),
    "one container on a laptop": (IN_PODMAN, Surroundings()),
    "no container in a step": ({}, IN_STEP),
    "somebody at a terminal in a step": (IN_PODMAN, replace(IN_STEP, terminal=True)),
}


@pytest.mark.parametrize(("environ", "around"), FREE.values(), ids=FREE)
def test_who_is_no_task_is_left_alone(
    environ: dict[str, str], around: Surroundings
) -> None:
    lost_launcher.refuse(environ, around)


def test_a_hint_from_outside_tells_where_nothing_can_be_seen() -> None:
    with pytest.raises(ConfigError, match=f"{NTASKS_VARIABLE}=4"):
        lost_launcher.refuse({NTASKS_VARIABLE: "4"}, Surroundings(("appinit",)))


def test_one_container_of_podman_is_told_what_it_may_lack() -> None:
    assert "-e 'SLURM*'" in lost_launcher.note(IN_PODMAN, Surroundings())


@pytest.mark.parametrize(
    ("environ", "around"),
    [
        (IN_APPTAINER, Surroundings()),
        ({}, Surroundings()),
        (IN_PODMAN, Surroundings(terminal=True)),
        (IN_PODMAN | {NTASKS_VARIABLE: "1"}, Surroundings()),
    ],
)
def test_nobody_else_is(environ: dict[str, str], around: Surroundings) -> None:
    assert not lost_launcher.note(environ, around)
