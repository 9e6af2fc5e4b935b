"""The batch systems that are known: one row each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: mpiexec of any family.
_MPIEXEC = ("openmpi", "hydra", "pals")


@dataclass(frozen=True, slots=True)
class Queue:
    """How a system's queue is read and changed, by the number of a job.

    Attributes
    ----------
    submitted : str
        A pattern for what the command that submits prints; its group is the number.
    listed : tuple of str
        The command that lists the user's jobs that wait or run, each number first in
        its line.
    cancel : tuple of str
        The command that cancels the jobs whose numbers follow.
    """

    submitted: str
    listed: tuple[str, ...]
    cancel: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table.

    Attributes
    ----------
    name : str
        Its name on the command line; that of its template is ``NAME.j2``.
    title : str
        Its name in messages.
    launchers : tuple of str
        The rows of :mod:`dask_runner.launch.table` that its ranks may find.
    submit : tuple of tuple of str
        The commands that submit a job script, one after the other. The first gets the
        job script on its standard input; ``{NAME}`` is the variable NAME, ``{printed}``
        what the command before has printed. Empty where it has to be in a file.
    by_hand : str
        What a user types to submit a job script that was printed; for messages.
    queue : Queue, optional
        Where a program can follow the jobs that it submits.
    from_registry : bool
        Whether images come from a registry, not from a file.
    defaults : mapping
        Defaults of its own, for variables.
    """

    name: str
    title: str
    launchers: tuple[str, ...]
    submit: tuple[tuple[str, ...], ...]
    by_hand: str
    queue: Queue | None = None
    from_registry: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def template(self) -> str:
        """The name of its template."""
        return f"{self.name}.j2"


_KUBECTL = (("kubectl", "create", "-f", "-"),)
_BY_KUBECTL = "| kubectl create -f -"
#: The directory of the image in which programs start, and where the volume is.
_IN_IMAGE = {"directory": "/work"}

SYSTEMS: tuple[System, ...] = (
    System(
        "slurm",
        "Slurm",
        ("slurm",),
        (("sbatch",),),
        "| sbatch",
        Queue(
            r"Submitted batch job (\d+)",
            # Those that are completing as well: some will be queued again.
            ("squeue", "--me", "--noheader", "--format=%A"),
            ("scancel",),
        ),
    ),
    System(
        "pbs",
        "PBS",
        _MPIEXEC,
        (("qsub",),),
        "| qsub",
        Queue(r"^(\d+)", ("qstat",), ("qdel",)),
    ),
    System(
        "lsf",
        "LSF",
        (*_MPIEXEC, "jsm"),
        (("bsub",),),
        "| bsub",
        Queue(r"Job <(\d+)>", ("bjobs", "-noheader", "-o", "jobid"), ("bkill",)),
    ),
    System(
        "sge",
        "Grid Engine",
        _MPIEXEC,
        (("qsub",),),
        "| qsub",
        Queue(r"Your job (\d+)", ("qstat",), ("qdel",)),
    ),
    System(
        "oar",
        "OAR",
        _MPIEXEC,
        # It reads no job script from standard input, and starts it as a file.
        (),
        "> job.sh && chmod +x job.sh && oarsub -S ./job.sh",
    ),
    System(
        "htcondor",
        "HTCondor",
        ("htcondor",),
        (("condor_submit", "-terse", "-"),),
        "| condor_submit -terse -",
        Queue(r"^(\d+)\.", ("condor_q", "-autoformat", "ClusterId"), ("condor_rm",)),
        # It starts a program by its path.
        defaults={"container": ["/usr/bin/apptainer", "run"]},
    ),
    System(
        "kubernetes",
        "a Kubernetes Indexed Job",
        ("kubernetes",),
        _KUBECTL,
        _BY_KUBECTL,
        from_registry=True,
        defaults=_IN_IMAGE,
    ),
    System(
        "jobset",
        "a Kubernetes JobSet",
        ("kubernetes",),
        _KUBECTL,
        _BY_KUBECTL,
        from_registry=True,
        defaults=_IN_IMAGE,
    ),
    System(
        "leaderworkerset",
        "a Kubernetes LeaderWorkerSet",
        ("kubernetes",),
        _KUBECTL,
        _BY_KUBECTL,
        from_registry=True,
        defaults=_IN_IMAGE,
    ),
    System(
        "awsbatch",
        "AWS Batch",
        ("aws-batch",),
        (
            (
                *("aws", "batch", "register-job-definition"),
                *("--cli-input-json", "file:///dev/stdin"),
                *("--query", "jobDefinitionArn", "--output", "text"),
            ),
            (
                *("aws", "batch", "submit-job", "--job-name", "{job_name}"),
                *("--job-queue", "{partition}", "--job-definition", "{printed}"),
            ),
        ),
        "> job.json && aws batch register-job-definition "
        "--cli-input-json file://job.json, and then aws batch submit-job",
        from_registry=True,
        defaults=_IN_IMAGE,
    ),
)

BY_NAME = {system.name: system for system in SYSTEMS}
