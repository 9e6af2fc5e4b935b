"""Attach to the cluster ``bench``, and wait for the workers that join it.

It prints the seconds of the one, and the moment of the other.
"""

import sys
import time

from dask.distributed import Client

from dask_runner import Cluster

WORKERS = int(sys.argv[1])

began = time.perf_counter()
with Cluster.from_name("bench") as cluster, Client(cluster) as client:
    client.submit(abs, 1).result()
    sys.stdout.write(f"attached {time.perf_counter() - began}\n")
    sys.stdout.flush()
    client.wait_for_workers(WORKERS)
    # That looks every 0.1 s; the scheduler has noted when they came.
    came = (
        moment
        for moment, event in client.get_events("all")
        if event["action"] == "add-worker"
    )
    sys.stdout.write(f"joined {max(came)}\n")
