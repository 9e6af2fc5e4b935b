"""A script as users of dask-runner write it; also the client of a scheduler file."""

import os

from dask.distributed import Client
from measured import measured

with Client(scheduler_file=os.environ.get("BENCH_SCHEDULER_FILE")) as client:
    measured(client)
    if "BENCH_SCHEDULER_FILE" in os.environ:
        client.shutdown()
