"""Two tables of the runs whose environments ci/capture_environ captures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One run; the environments of some of its ranks are kept.

    Attributes
    ----------
    name : str
        First part of the names of the files.
    command : str
        The command; ``{save}`` and the like stand for the program of every rank.
    launcher : str
        The launcher that has to be found; ``none``; or ``error: WORDS``.
    size : int
        Number of ranks.
    nodes : tuple of int
        How many ranks each node has, in the order of the ranks.
    family : str
        The runtime of ci/mpi.py; empty for a case of the cluster.
    ranks : tuple of int
        The ranks whose environments are kept.
    words : str
        A remark for the first line of the file.
    """

    name: str
    command: str
    launcher: str
    size: int = 1
    nodes: tuple[int, ...] = ()
    family: str = ""
    ranks: tuple[int, ...] = (0,)
    words: str = ""


#: On this machine, with a runtime of ci/mpi.py.
MPI = (
    Case("openmpi5", "mpiexec -n 3 {save}", "openmpi", 3, (3,), "openmpi", (0, 2)),
    Case("openmpi4", "mpiexec -n 3 {save}", "openmpi", 3, (3,), "openmpi4", (0, 2)),
    Case("mpich", "mpiexec -n 3 {save}", "hydra", 3, (3,), "mpich", (0, 2)),
    Case("impi", "mpiexec -n 3 {save}", "hydra", 3, (3,), "impi", (0, 2)),
)

#: On the cluster of ci/cluster.
SLURM = (
    Case(
        "slurm-none",
        "srun --mpi=none -N2 -n3 {task}",
        "slurm",
        3,
        (2, 1),
        ranks=(0, 2),
    ),
    Case(
        "slurm-pmi2",
        "srun --mpi=pmi2 -N2 --ntasks-per-node=2 {task}",
        "slurm",
        4,
        (2, 2),
        ranks=(0, 3),
    ),
    Case(
        "slurm-pmix",
        "srun --mpi=pmix -N2 --ntasks-per-node=2 {task}",
        "slurm",
        4,
        (2, 2),
        ranks=(0, 3),
    ),
    Case(
        "slurm-in-salloc",
        "salloc -N2 --ntasks-per-node=2 srun {task}",
        "slurm",
        4,
        (2, 2),
        ranks=(3,),
        words="srun inside salloc",
    ),
    Case(
        "slurm-het-step",
        "salloc -N2 --ntasks-per-node=3 srun -N1 -n1 {rank} : -N1 -n2 {rank}",
        "slurm",
        3,
        (1, 2),
        ranks=(0, 2),
        words="a step of two components",
    ),
    Case(
        "slurm-het-job",
        "salloc -n1 : -n2 srun --het-group=0,1 {rank}",
        "slurm",
        3,
        (1, 2),
        ranks=(0, 2),
        words="a job of two components",
    ),
    Case(
        "slurm-het-components",
        "salloc -n1 -c3 --mem=1G : -n2 --mem=2G"
        " srun --het-group=0 {rank} : --het-group=1 {rank}",
        "slurm",
        3,
        (1, 2),
        ranks=(0, 2),
        words="a job of two components with other CPUs and memory",
    ),
    Case(
        "slurm-het-srun",
        "srun -n1 -c4 {rank} : -n2 -c2 {rank}",
        "slurm",
        3,
        (1, 2),
        ranks=(0, 2),
        words="a job of two components, made by srun itself",
    ),
    Case(
        "slurm-het-second",
        "salloc -n1 : -n2 srun --het-group=1 {rank}",
        "slurm",
        2,
        (2,),
        ranks=(1,),
        words="a step on the second component of a job",
    ),
    Case(
        "slurm-het-batch",
        "sbatch -W -n1 : -n1 --wrap '{print}'",
        "error: SLURM_HET_SIZE=2, but this process is not a task of srun",
        words="the batch script of a job of two components: srun forgotten",
    ),
    Case(
        "slurm-second-step",
        "sbatch -W -N2 -n2 --wrap 'srun true; srun {task}'",
        "slurm",
        2,
        (1, 1),
        ranks=(1,),
        words="the second step of a batch job",
    ),
    Case(
        "slurm-array",
        "sbatch -W -n1 --array=7 --wrap 'srun {task}'",
        "slurm",
        1,
        (1,),
        words="a step of an array job",
    ),
    Case(
        "slurm-requeued",
        "sbatch -W -n1 --requeue --wrap '[ $SLURM_RESTART_COUNT ] && exec srun {task};"
        " scontrol requeue $SLURM_JOB_ID; sleep 60'",
        "slurm",
        1,
        (1,),
        words="a step of a job that was requeued",
    ),
    Case(
        "slurm-shell",
        "srun -n1 bash -c '{print}'",
        "slurm",
        1,
        (1,),
        words="a shell in a step of one task, as srun --pty bash opens",
    ),
    Case(
        "slurm-batch-of-4",
        "sbatch -W -n4 --wrap '{print}'",
        "error: SLURM_NTASKS=4, but this process is not a task of srun",
        words="the batch script itself: srun forgotten",
    ),
    Case(
        "slurm-batch-of-1",
        "sbatch -W -n1 --wrap '{print}'",
        "none",
        words="the batch script itself",
    ),
    Case(
        "slurm-batch-of-2-nodes",
        "sbatch -W -N2 --wrap '{print}'",
        "error: SLURM_JOB_NUM_NODES=2, but this process is not a task of srun",
        words="the batch script itself, of a job that names no tasks: srun forgotten",
    ),
    Case(
        "slurm-batch-from-a-step",
        "srun -n1 sbatch -W -n4 --wrap '{print}'",
        "error: SLURM_NTASKS=4, but this process is not a task of srun",
        words="a batch script that was submitted in a step, whose variables it has",
    ),
    Case(
        "slurm-salloc-of-4",
        "salloc -n4 sh -c '{print}'",
        "error: SLURM_NTASKS=4, but this process is not a task of srun",
        words="salloc's command on the login node: srun forgotten",
    ),
    Case(
        "slurm-interactive-step",
        "salloc -n4 srun --interactive --preserve-env sh -c '{print}'",
        "error: SLURM_NTASKS=4, but this process is not a task of srun",
        words="the shell of salloc with LaunchParameters=use_interactive_step",
    ),
    Case(
        "openmpi-in-sbatch",
        "sbatch -W -N2 --ntasks-per-node=2 --wrap 'mpiexec.openmpi {rank}'",
        "openmpi",
        4,
        (2, 2),
        ranks=(0, 3),
    ),
    Case(
        "mpich-in-sbatch",
        "sbatch -W -N2 --ntasks-per-node=2 --wrap 'mpiexec.mpich {rank}'",
        "hydra",
        4,
        (2, 2),
        ranks=(0, 3),
    ),
    Case(
        "slurm-around-apptainer",
        "srun --mpi=pmix -N2 --ntasks-per-node=2 apptainer exec {image} {rank}",
        "slurm",
        4,
        (2, 2),
        ranks=(3,),
    ),
    Case(
        "slurm-batch-around-apptainer",
        "sbatch -W -n4 --wrap 'apptainer exec {image} sh -c \"{print}\"'",
        "error: srun apptainer run /images/dask-runner.sif script.py",
        words="the batch script itself: srun forgotten",
    ),
    Case(
        "openmpi-around-apptainer",
        "salloc -N2 --ntasks-per-node=2 mpiexec.openmpi apptainer exec {image} {rank}",
        "openmpi",
        4,
        (2, 2),
        ranks=(3,),
    ),
    Case(
        "mpich-around-apptainer",
        "salloc -N2 --ntasks-per-node=2 mpiexec.mpich apptainer exec {image} {rank}",
        "hydra",
        4,
        (2, 2),
        ranks=(3,),
    ),
    Case(
        "openmpi-in-srun",
        "srun --mpi=pmi2 -n1 mpiexec.openmpi --oversubscribe -n 2 {rank}",
        "openmpi",
        2,
        (2,),
        ranks=(1,),
        words="mpiexec in a step of one task, whose PMI_ variables are left",
    ),
    Case(
        "mpich-in-srun",
        "srun --mpi=pmix -n1 mpiexec.mpich -n 2 {rank}",
        "hydra",
        2,
        (2,),
        ranks=(1,),
        words="mpiexec in a step of one task, whose PMIX_ variables are left",
    ),
)
