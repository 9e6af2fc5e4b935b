"""Classes that start several workers by themselves: dask-cuda's, one for each GPU.

Such a class is started once a rank, in the rank's own agent, and sees the rank's own
GPUs alone: it would start a worker on each that it sees. What else it is told is
what each of its workers gets; its nannies are its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.resources.worker_share import NamedWorker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.launch.settings import Settings
    from dask_runner.resources.rank_share import RankShare
    from dask_runner.resources.worker_share import WorkerShare

#: The names under which dask-cuda has it.
CUDA_WORKERS = ("dask_cuda.CUDAWorker", "dask_cuda.cuda_worker.CUDAWorker")


def is_fleet(settings: Settings) -> bool:
    """Return whether the class of the workers is one of these."""
    return settings.worker_class in CUDA_WORKERS


def cuda_worker(
    share: RankShare,
    workers: Sequence[WorkerShare],
    settings: Settings,
    name: int | str,
) -> tuple[list[NamedWorker], NamedWorker]:
    """Return the workers that there will be, and what starts them.

    Parameters
    ----------
    share : RankShare
    workers : sequence of WorkerShare
        How the rank's share is divided among as many workers.
    settings : Settings
    name : int or str
        The first part of their names.

    Raises
    ------
    ConfigError
        If it would start others than were asked for.
    """
    own = share.gpus.value.own
    if not own:
        raise ConfigError(
            f"--worker-class {settings.worker_class}, and no variable names a GPU of "
            "this rank",
            "the GPUs in CUDA_VISIBLE_DEVICES or SLURM_STEP_GPUS",
            "ask the launcher for GPUs (srun --gpus-per-task 1), or set the variable",
        )
    if len(workers) != len(own):
        raise ConfigError(
            f"--nworkers {settings.nworkers} with --worker-class "
            f"{settings.worker_class} and {len(own)} GPUs a rank",
            "one worker a GPU, as this class starts them",
            "leave --nworkers out, or take dask.distributed.Worker",
        )
    # Its own default; more threads would share one GPU.
    threads = settings.nthreads or 1
    # As it names them itself.
    names = [f"{name}-{number}" for number in range(len(own))]
    made = [
        replace(worker, nthreads=threads).named(one)
        for one, worker in zip(names if len(own) > 1 else [name], workers, strict=True)
    ]
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(own)}
    return made, NamedWorker(name, threads, made[0].memory_limit, seen)


def in_words(resources: Mapping[str, float] | None) -> str | None:
    """Write them as the command line of ``dask worker`` has them: it reads that."""
    if not resources:
        return None
    return " ".join(f"{key}={value}" for key, value in resources.items())
