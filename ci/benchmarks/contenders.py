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

#: The size of a run is the number of ranks of one srun, or of workers with one task a
#: node.
Shape = Literal["ranks", "one task a node"]


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
        A line for bash in an allocation; ``{size}`` is its size, ``{share}`` the
        workers of one of the two nodes.
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
        return size - self.idle


_RANKS = "srun -N2 -n{size}"
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
        f"bash {JOBS}/mpi_cli.sh {PEERS} -N2 -n{{size}}",
        idle=1,
    ),
    Contender(
        "dask worker by hand",
        "ranks",
        f"bash {JOBS}/by_hand.sh {PEERS} 1 -N2 -n{{size}}",
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
