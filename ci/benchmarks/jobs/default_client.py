"""The script of a dask-runner user; also the client where there is a scheduler file."""

import os

from dask.distributed import Client
from measured import measured

with Client(scheduler_file=os.environ.get("BENCH_SCHEDULER_FILE")) as client:
    measured(client)
    if "BENCH_SCHEDULER_FILE" in os.environ:
        client.shutdown()
