"""The script of a dask-jobqueue user: every rank runs it."""

import os

from dask.distributed import Client
from dask_jobqueue.slurm import SLURMRunner
from measured import measured

place = os.environ["BENCH_DIRECTORY"]
with (
    SLURMRunner(
        scheduler_file=f"{place}/scheduler.json",
        worker_options={
            "nthreads": 1,
            "memory_limit": os.environ.get("BENCH_MEMORY", "auto"),
        },
    ) as runner,
    Client(runner) as client,
):
    measured(client)
