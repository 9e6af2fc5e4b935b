"""The launchers that are known: one row each, innermost first.

A launcher adds its variables to those that it inherited. So the names of the variables
show which launchers are above a process, but not which of them is the innermost. The
order of the table decides: which launcher starts which is nearly always the same, and
each row has its reason. Where a launcher also sets the variables of another,
``foreign`` tells the two apart. Nothing shows which of two ``mpiexec`` of different
families came last; where they disagree, that is an error.

The module is long because the order of its rows matters and is read in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError
from dask_runner.launch.own_variables import (
    HOST_LOCAL_RANK_VARIABLE,
    HOST_LOCAL_SIZE_VARIABLE,
    HOST_RANK_VARIABLE,
    JOB_ID_VARIABLE,
    RANK_VARIABLE,
    SIZE_VARIABLE,
    VARIABLE_OF_SIZE,
)
from dask_runner.launch.slurm import step_is_inherited, tasks_here
from dask_runner.launch.sourced import Sourced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Environ = Mapping[str, str]

# The user's name for the job around an mpiexec, which has none of its own.
_BATCH_JOB = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "OAR_JOB_ID")


@dataclass(frozen=True, slots=True)
class Launcher:
    """One row of the table.

    Where a field has several names, the first that is set counts.

    Attributes
    ----------
    name : str
        Its name in ``--launcher`` and :attr:`World.launcher`.
    title : str
        Its name in messages.
    why_here : str
        The reason for the row's place in the table.
    marks : tuple of str
        Variables that are all set in a rank of this launcher.
    rank, size, local_rank, local_size : tuple of str
        The variables that hold these numbers.
    job_id : tuple of str
        The variables that hold the job's name.
    key : tuple of (str, str or None)
        Variables that together name this launch and no other, each with its
        default (None: must be set); ``job_id`` stands for that field. Where
        none of them is set, :attr:`World.key` is empty: the launcher gives its
        ranks no common name for a file.
    meeting : str
        The default for :attr:`World.meeting`.
    start : str
        How a user starts ranks with it; for messages.
    hint : str
        What helps when one of the variables is missing or wrong; for messages.
    is_mpiexec : bool
        Whether it starts MPI programs, so that one inside another is ambiguous.
    foreign : callable or None
        Returns True when another launcher has set the marks, or they are for one.
    special : tuple of (str, callable)
        Fields that no variable holds as it is. The callables raise ConfigError for
        invalid values.
    """

    name: str
    title: str
    why_here: str
    marks: tuple[str, ...]
    rank: tuple[str, ...]
    size: tuple[str, ...]
    meeting: str
    start: str
    local_rank: tuple[str, ...] = ()
    local_size: tuple[str, ...] = ()
    job_id: tuple[str, ...] = ()
    key: tuple[tuple[str, str | None], ...] = ()
    hint: str = ""
    is_mpiexec: bool = False
    foreign: Callable[[Environ], bool] | None = None
    special: tuple[tuple[str, Callable[[Environ], Sourced[Any]]], ...] = ()

    def marked(self, environ: Environ) -> bool:
        """Return whether all the marks are set."""
        return all(name in environ for name in self.marks)

    def started(self, environ: Environ) -> bool:
        """Return whether this launcher, and no other, has set the marks."""
        return self.marked(environ) and not (self.foreign and self.foreign(environ))


def _open_mpi_is_foreign(environ: Environ) -> bool:
    # srun --mpi=pmix sets the PMIX_ variables anew, so the mpirun is further out.
    if environ.get("PMIX_NAMESPACE", "").startswith("slurm."):
        return True
    # jsrun sets the OMPI_COMM_WORLD_ variables for Spectrum MPI. Only mpirun sets the
    # two others (version 5 the first, version 4 the second).
    return "JSM_NAMESPACE_RANK" in environ and not (
        "OMPI_TOOL_NAME" in environ or "OMPI_MCA_orte_hnp_uri" in environ
    )


def _prterun_is_foreign(environ: Environ) -> bool:
    # As for Open MPI: srun has set the PMIX_ variables anew.
    return environ["PMIX_NAMESPACE"].startswith("slurm.")


def _pals_is_foreign(environ: Environ) -> bool:
    # srun --mpi=cray_shasta sets PALS_ variables for Cray's PMI library, with the step
    # as the application. Slurm's own variables hold more (the restart count).
    step = f"{environ.get('SLURM_JOB_ID')}.{environ.get('SLURM_STEP_ID')}"
    # flux run -o pmi=cray-pals sets them too, with its own directory of the job.
    spool = environ.get("PALS_SPOOL_DIR", "")
    return environ["PALS_APID"] == step or spool == environ.get("FLUX_JOB_TMPDIR")


def _torchrun_id(environ: Environ) -> Sourced[Any]:
    run = environ["TORCHELASTIC_RUN_ID"]
    if run == "none":
        raise ConfigError(
            "TORCHELASTIC_RUN_ID is 'none', torchrun's default for every launch",
            "a name that this launch has and no other",
            "give torchrun --standalone, or --rdzv-id with a name of your own",
        )
    return Sourced(run, f"TORCHELASTIC_RUN_ID={run}")


def _kubernetes_job(environ: Environ) -> Sourced[Any]:
    if JOB_ID_VARIABLE in environ:
        job = environ[JOB_ID_VARIABLE]
        return Sourced(job, f"{JOB_ID_VARIABLE}={job}")
    # The name of a pod of an Indexed Job is JOB-INDEX.
    host = environ.get("HOSTNAME", "")
    tail = f"-{environ['JOB_COMPLETION_INDEX']}"
    if not host.endswith(tail):
        return Sourced(None, "")
    return Sourced(host.removesuffix(tail), f"HOSTNAME={host}")


def _aws_batch_job(environ: Environ) -> Sourced[Any]:
    # The value is ID#NODE.
    job = environ.get("AWS_BATCH_JOB_ID", "")
    return Sourced(job.partition("#")[0] or None, f"AWS_BATCH_JOB_ID={job}")


LAUNCHERS: tuple[Launcher, ...] = (
    Launcher(
        name="local",
        title="dask-runner -n",
        why_here="dask-runner starts the ranks itself, so nothing is further in",
        marks=(RANK_VARIABLE,),
        rank=(RANK_VARIABLE,),
        size=(SIZE_VARIABLE,),
        local_rank=(RANK_VARIABLE,),
        local_size=(SIZE_VARIABLE,),
        job_id=(JOB_ID_VARIABLE,),
        key=((JOB_ID_VARIABLE, None),),
        meeting="private",
        start="dask-runner -n 4 script.py",
        hint="unset DASKRUNNER_RANK, which only dask-runner sets",
    ),
    Launcher(
        name="hosts",
        title="dask-runner --hosts",
        why_here="as the one before, on other hosts",
        marks=(HOST_RANK_VARIABLE,),
        rank=(HOST_RANK_VARIABLE,),
        size=(SIZE_VARIABLE,),
        local_rank=(HOST_LOCAL_RANK_VARIABLE,),
        local_size=(HOST_LOCAL_SIZE_VARIABLE,),
        job_id=(JOB_ID_VARIABLE,),
        key=((JOB_ID_VARIABLE, None),),
        meeting="hosts",
        start="dask-runner --hosts a,b script.py",
        hint="unset DASKRUNNER_HOST_RANK, which only dask-runner sets",
    ),
    Launcher(
        name="torchrun",
        title="torchrun",
        why_here="one runs on each node, started there by any of those below",
        # RANK and WORLD_SIZE alone are also what people export by hand.
        marks=("TORCHELASTIC_RUN_ID", "RANK"),
        rank=("RANK",),
        size=("WORLD_SIZE",),
        local_rank=("LOCAL_RANK",),
        local_size=("LOCAL_WORLD_SIZE",),
        key=(
            ("job_id", None),
            ("MASTER_ADDR", ""),
            ("MASTER_PORT", ""),
            ("TORCHELASTIC_RESTART_COUNT", "0"),
        ),
        meeting="file",
        start="torchrun --standalone --nproc-per-node 4 --no-python dask-runner",
        hint="give torchrun --standalone, or --rdzv-id with a name of your own",
        special=(("job_id", _torchrun_id),),
    ),
    Launcher(
        name="openmpi",
        title="mpirun of Open MPI",
        why_here="runs inside a Slurm, LSF, Flux or PBS job, whose variables its ranks"
        " inherit; its daemons on other nodes are often themselves tasks of srun",
        marks=("OMPI_COMM_WORLD_RANK",),
        rank=("OMPI_COMM_WORLD_RANK",),
        size=("OMPI_COMM_WORLD_SIZE",),
        local_rank=("OMPI_COMM_WORLD_LOCAL_RANK",),
        local_size=("OMPI_COMM_WORLD_LOCAL_SIZE",),
        job_id=(*_BATCH_JOB, "PMIX_NAMESPACE"),
        # Open MPI 5: host and process of mpirun, and the number of the launch.
        # Open MPI 4: a 16-bit hash of them, so the address of mpirun is added.
        key=(("PMIX_NAMESPACE", ""), ("OMPI_MCA_orte_hnp_uri", "")),
        meeting="mpi",
        start="mpirun -n 4 dask-runner script.py",
        hint="start the ranks with mpirun or mpiexec of Open MPI",
        is_mpiexec=True,
        foreign=_open_mpi_is_foreign,
    ),
    Launcher(
        name="prterun",
        title="prterun of PRRTE",
        why_here="after mpirun of Open MPI 5, which is prterun and says more",
        marks=("PRTE_LAUNCHED", "PMIX_RANK", "PMIX_NAMESPACE"),
        rank=("PMIX_RANK",),
        # Its ranks can only ask for the size over PMIx, which takes a library.
        size=(SIZE_VARIABLE,),
        job_id=(*_BATCH_JOB, "PMIX_NAMESPACE"),
        key=(("PMIX_NAMESPACE", None),),
        meeting="mpi",
        start="mpirun -n 4 dask-runner script.py",
        hint="start the ranks with mpirun or mpiexec of Open MPI, which set the size; "
        "or prterun -x DASKRUNNER_SIZE=4 -n 4",
        foreign=_prterun_is_foreign,
    ),
    Launcher(
        name="flux",
        title="Flux",
        why_here="its instances run inside Slurm or LSF jobs; before PMI, whose"
        " variables its shell sets for its tasks",
        marks=("FLUX_TASK_RANK", "FLUX_JOB_ID"),
        rank=("FLUX_TASK_RANK",),
        size=("FLUX_JOB_SIZE",),
        local_rank=("FLUX_TASK_LOCAL_ID",),
        job_id=("FLUX_JOB_ID",),
        # The number is the instance's own, the path is unique over all of them.
        key=(("FLUX_JOB_ID", None), ("FLUX_JOB_ID_PATH", "")),
        meeting="file",
        start="flux run -n 4 dask-runner script.py",
        hint="start the ranks with flux run",
    ),
    Launcher(
        name="pals",
        title="mpiexec of HPE PALS",
        why_here="before Hydra, because it sets PMI_ variables as Hydra does, and more",
        marks=("PALS_RANKID", "PALS_APID"),
        rank=("PALS_RANKID",),
        size=("PMI_SIZE", "PALS_SIZE"),
        local_rank=("PALS_LOCAL_RANKID", "PMI_LOCAL_RANK"),
        local_size=("PMI_LOCAL_SIZE", "PALS_LOCAL_SIZE"),
        job_id=(*_BATCH_JOB, "PALS_APID"),
        key=(("PALS_APID", None),),
        meeting="file",
        start="mpiexec -n 4 dask-runner script.py",
        hint="start the ranks with mpiexec, and do not remove PMI_SIZE",
        is_mpiexec=True,
        foreign=_pals_is_foreign,
    ),
    Launcher(
        name="hydra",
        title="mpiexec of MPICH or Intel MPI",
        why_here="runs inside batch jobs, and its proxies on other nodes are often"
        " themselves tasks of srun",
        # srun --mpi=pmi2 sets PMI_RANK and PMI_SIZE, but not the local rank.
        marks=("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
        rank=("PMI_RANK",),
        size=("PMI_SIZE",),
        local_rank=("MPI_LOCALRANKID",),
        local_size=("MPI_LOCALNRANKS",),
        job_id=(*_BATCH_JOB, "I_MPI_HYDRA_UUID"),
        # Only Intel MPI sets it; MPICH gives its ranks a key-value space alone.
        key=(("I_MPI_HYDRA_UUID", ""),),
        meeting="pmi",
        start="mpiexec -n 4 dask-runner script.py",
        hint="start the ranks with mpiexec of MPICH or Intel MPI",
        is_mpiexec=True,
    ),
    Launcher(
        name="mvapich",
        title="mpirun_rsh of MVAPICH2",
        why_here="after Hydra, which MVAPICH2's own mpiexec is",
        marks=("MV2_COMM_WORLD_RANK",),
        rank=("MV2_COMM_WORLD_RANK",),
        size=("MV2_COMM_WORLD_SIZE",),
        local_rank=("MV2_COMM_WORLD_LOCAL_RANK",),
        local_size=("MV2_COMM_WORLD_LOCAL_SIZE",),
        job_id=_BATCH_JOB,
        meeting="pmi",
        start="mpirun_rsh -np 4 -hostfile hosts dask-runner script.py",
        hint="start the ranks with mpirun_rsh",
        is_mpiexec=True,
    ),
    Launcher(
        name="jsm",
        title="jsrun of LSF",
        why_here="after Flux, whose instances it starts, and after Open MPI, whose"
        " variables it also sets; mpirun inside jsrun is recognised by what only mpirun"
        " sets",
        marks=("JSM_NAMESPACE_RANK",),
        rank=("JSM_NAMESPACE_RANK",),
        size=("JSM_NAMESPACE_SIZE",),
        local_rank=("JSM_NAMESPACE_LOCAL_RANK",),
        local_size=("JSM_NAMESPACE_LOCAL_SIZE",),
        job_id=("LSB_JOBID",),
        key=(("LSB_JOBID", ""), ("LSB_JOBINDEX", ""), ("PMIX_NAMESPACE", "")),
        meeting="file",
        start="jsrun -n 4 dask-runner script.py",
        hint="start the ranks with jsrun",
    ),
    Launcher(
        name="slurm",
        title="srun of Slurm",
        why_here="after all that is started inside a job: their ranks on other nodes"
        " inherit the variables of the srun that started their daemons",
        # A batch script has SLURM_PROCID=0 too; only a step has a step's number.
        marks=("SLURM_STEP_ID", "SLURM_PROCID"),
        rank=("SLURM_PROCID",),
        # SLURM_NTASKS can be the job's: salloc's shell keeps it.
        size=("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        local_rank=("SLURM_LOCALID",),
        job_id=("SLURM_JOB_ID",),
        key=(
            ("SLURM_CLUSTER_NAME", ""),
            ("SLURM_JOB_ID", None),
            ("SLURM_STEP_ID", None),
            ("SLURM_RESTART_COUNT", "0"),
        ),
        meeting="file",
        start="srun -n 4 dask-runner script.py",
        hint="start the ranks with srun",
        foreign=step_is_inherited,
        special=(("local_size", tasks_here),),
    ),
    Launcher(
        name="pmi",
        title="a launcher that speaks PMI",
        why_here="after all that set the same two variables and say more",
        marks=("PMI_RANK", "PMI_SIZE"),
        rank=("PMI_RANK",),
        size=("PMI_SIZE",),
        local_rank=("PMI_LOCAL_RANK",),
        local_size=("PMI_LOCAL_SIZE",),
        job_id=(*_BATCH_JOB, "PMI_JOBID"),
        meeting="pmi",
        start="mpiexec -n 4 dask-runner script.py",
        hint="start the ranks with mpiexec",
    ),
    Launcher(
        name="htcondor",
        title="HTCondor's parallel universe",
        why_here="a batch system with ranks of its own: all above run inside of it",
        marks=("_CONDOR_PROCNO", "_CONDOR_NPROCS"),
        rank=("_CONDOR_PROCNO",),
        size=("_CONDOR_NPROCS",),
        job_id=(JOB_ID_VARIABLE, "_CONDOR_REMOTE_SPOOL_DIR"),
        key=((JOB_ID_VARIABLE, ""), ("_CONDOR_REMOTE_SPOOL_DIR", "")),
        meeting="file",
        start="universe = parallel",
        hint='write environment = "DASKRUNNER_JOB_ID=$(ClusterId)" in the submit file',
    ),
    Launcher(
        name="lws",
        title="a LeaderWorkerSet of Kubernetes",
        why_here="the pod is the machine: all above run inside of it",
        marks=("LWS_LEADER_ADDRESS", "LWS_WORKER_INDEX"),
        rank=("LWS_WORKER_INDEX",),
        size=("LWS_GROUP_SIZE",),
        job_id=("LWS_LEADER_ADDRESS",),
        key=(("LWS_LEADER_ADDRESS", None), (JOB_ID_VARIABLE, "")),
        meeting="file",
        start="a LeaderWorkerSet",
        hint="leave the LWS_ variables as they are",
    ),
    Launcher(
        name="kubernetes",
        title="a Kubernetes Indexed Job",
        why_here="the pod is the machine: all above run inside of it",
        marks=("JOB_COMPLETION_INDEX",),
        rank=("JOB_COMPLETION_INDEX",),
        # Kubernetes does not tell a pod the number of pods.
        size=(SIZE_VARIABLE, VARIABLE_OF_SIZE),
        key=(("job_id", None),),
        meeting="file",
        start="a Job with completionMode: Indexed",
        hint="set DASKRUNNER_SIZE to the Job's completions, and DASKRUNNER_JOB_ID from"
        " the field metadata.labels['batch.kubernetes.io/controller-uid'], in the"
        " env of the pod's container",
        special=(("job_id", _kubernetes_job),),
    ),
    Launcher(
        name="aws-batch",
        title="an AWS Batch multi-node parallel job",
        why_here="the container is the machine: all above run inside of it",
        marks=("AWS_BATCH_JOB_NODE_INDEX", "AWS_BATCH_JOB_NUM_NODES"),
        rank=("AWS_BATCH_JOB_NODE_INDEX",),
        size=("AWS_BATCH_JOB_NUM_NODES",),
        key=(("job_id", None), ("AWS_BATCH_JOB_ATTEMPT", "1")),
        meeting="file",
        start="a job definition of the type multinode",
        hint="leave the AWS_BATCH_JOB_ variables as they are",
        special=(("job_id", _aws_batch_job),),
    ),
)
