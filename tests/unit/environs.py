"""Environments for the tests: captured or documented ones, and made-up ones."""

from __future__ import annotations

from pathlib import Path

from dask_runner.launch.world import World

ENVIRONS = Path(__file__).parent.parent / "data" / "environ"
NUMBERS = ("rank", "size", "local_rank", "local_size")


def environ(name: str) -> dict[str, str]:
    """Return the variables of a captured environment."""
    lines = (ENVIRONS / f"{name}.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def stated(path: Path, word: str) -> list[str]:
    """Return what the head of a captured environment says about a word."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = f"# {word}: "
    return [line.removeprefix(head) for line in lines if line.startswith(head)]


def world(text: str) -> World | None:
    """Return the World that an expect line describes."""
    if text == "none":
        return None
    fields = dict(word.split("=", 1) for word in text.split(" "))
    values = {
        name: (None if value == "-" else int(value)) if name in NUMBERS else value
        for name, value in fields.items()
    }
    return World(**values)


FILES = sorted(ENVIRONS.glob("*.env"))
WORLDS = [path.stem for path in FILES if stated(path, "expect")]
ERRORS = [path.stem for path in FILES if stated(path, "error")]

SLURM = {
    "SLURM_CLUSTER_NAME": "linux",
    "SLURM_JOB_ID": "4711",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}

BATCH = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
}

HYDRA = {
    "MPI_LOCALNRANKS": "2",
    "MPI_LOCALRANKID": "1",
    "PMI_RANK": "1",
    "PMI_SIZE": "2",
}

OPEN_MPI = {
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "1",
    "OMPI_TOOL_NAME": "mpiexec",
    "PMIX_NAMESPACE": "prterun-node1-4242@1",
    "PRTE_LAUNCHED": "1",
}
