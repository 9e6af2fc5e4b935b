"""The programs that the benchmark compares, as a table of command lines.

All run with their own defaults except that workers have one thread: the nodes of the
cluster claim more CPUs than the machine has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JOBS = "/home/user/bench-jobs"
OURS = "/images/dask-runner.sif"
PEERS = "/images/peers.sif"

#: Of a worker, where data is moved: no program has to spill.
MEMORY = "2GiB"

#: The size of a run is the number of ranks of one srun, or of workers with one task a
#: node, or of workers between which data is moved.
Shape = Literal["ranks", "one task a node", "moved"]


@dataclass(frozen=True, slots=True)
class Contender:
    """One program, started in one way.

    Attributes
    ----------
    name : str
        Its name in the table, the picture and the JSON.
    shape : Shape
        What its size counts.
    command : str
        A line for bash in an allocation; ``{ranks}`` is the number of ranks,
        ``{share}`` the workers of one of the two nodes.
    idle : int
        The number of ranks that do no work.
    floor : bool
        Whether it measures the time that any program takes at least.
    """

    name: str
    shape: Shape
    command: str
    idle: int = 0
    floor: bool = False

    def workers(self, size: int) -> int:
        """Return the number of workers that a size gives."""
        return size - self.idle if self.shape == "ranks" else size

    def ranks(self, size: int) -> int:
        """Return the number of ranks that a size gives."""
        counts = {"ranks": size, "one task a node": 2, "moved": size + self.idle}
        return counts[self.shape]

    def line(self, size: int) -> str:
        """Return the command for a size."""
        return self.command.format(ranks=self.ranks(size), share=size // 2)


_RANKS = "srun -N2 -n{ranks}"
_NODES = "srun -N2 -n2"

CONTENDERS = (
    Contender(
        "dask-runner",
        "ranks",
        f"{_RANKS} apptainer run {OURS} --nthreads 1 {JOBS}/default_client.py",
    ),
    Contender(
        "SLURMRunner",
        "ranks",
        f"{_RANKS} apptainer exec {PEERS} python {JOBS}/slurm_runner.py",
        idle=2,
    ),
    Contender(
        "dask-mpi initialize",
        "ranks",
        f"{_RANKS} --mpi=pmix apptainer exec {PEERS} python {JOBS}/mpi_initialize.py",
        idle=2,
    ),
    Contender(
        "dask-mpi execute",
        "ranks",
        f"{_RANKS} --mpi=pmix apptainer exec {PEERS} python {JOBS}/mpi_execute.py",
        idle=2,
    ),
    Contender(
        "dask-mpi command",
        "ranks",
        f"bash {JOBS}/mpi_cli.sh {PEERS} -N2 -n{{ranks}}",
        idle=1,
    ),
    Contender(
        "dask worker by hand",
        "ranks",
        f"bash {JOBS}/by_hand.sh {PEERS} 1 -N2 -n{{ranks}}",
    ),
    Contender(
        "dask-runner",
        "one task a node",
        f"{_NODES} apptainer run {OURS} --nworkers {{share}} --nthreads 1 "
        f"{JOBS}/default_client.py",
    ),
    Contender(
        "dask worker by hand",
        "one task a node",
        f"bash {JOBS}/by_hand.sh {PEERS} {{share}} -N2 -n2",
    ),
    Contender(
        "dask-runner",
        "moved",
        f"{_RANKS} apptainer run {OURS} --nthreads 1 --memory-limit {MEMORY} "
        f"{JOBS}/default_client.py",
    ),
    Contender(
        "dask-runner --security none",
        "moved",
        f"{_RANKS} apptainer run {OURS} --nthreads 1 --memory-limit {MEMORY} "
        f"--security none {JOBS}/default_client.py",
    ),
    # Two of its ranks do not work; ranks are dealt to the nodes in turn, so that each
    # node has two workers, as ours have.
    Contender(
        "SLURMRunner",
        "moved",
        f"BENCH_MEMORY={MEMORY} {_RANKS} --distribution=cyclic "
        f"apptainer exec {PEERS} python {JOBS}/slurm_runner.py",
        idle=2,
    ),
    Contender(
        "floor: container",
        "ranks",
        f"{_RANKS} apptainer exec {PEERS} true",
        floor=True,
    ),
    Contender(
        "floor: bare Python",
        "ranks",
        f"{_RANKS} apptainer exec {PEERS} python -I -c 'import socket, os'",
        floor=True,
    ),
    Contender(
        "floor: import distributed",
        "ranks",
        f"{_RANKS} apptainer exec {PEERS} python -c 'import distributed'",
        floor=True,
    ),
)
