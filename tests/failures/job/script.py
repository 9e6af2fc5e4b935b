"""The script of every cell: what it does to itself, and when, its environment says.

All processes of a cell tell each other where they are by files in ``CELL``.
"""

import contextlib
import json
import os
import socket
import sys
import time
from pathlib import Path

from distributed import Client, wait

CELL = Path(os.environ["CELL"])
CAUSE, WHO, WHEN, LAUNCHER, LAYOUT, WAY = os.environ["CELL_NAME"].split("-")
RANKS = (
    "DASKRUNNER_RANK",
    "DASKRUNNER_HOST_RANK",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "SLURM_PROCID",
)
RUNNERS = {"local": "Runner", "srun": "SlurmRunner"}
PATIENCE = 150
# Bytes of what two workers send each other at once.
MOVED = 1 << 26


def tell(name, text="{}"):
    aside = CELL / f".{name}"
    aside.write_text(text)
    aside.replace(CELL / name)


def wait_for(name):
    deadline = time.monotonic() + PATIENCE
    while not (CELL / name).exists():
        if time.monotonic() > deadline:
            sys.exit(f"nobody says {name}")
        time.sleep(0.02)


def fail():
    raise RuntimeError("as the cell wants it")


ACTS = {
    "return": sys.exit,
    "raise": fail,
    "exit3": lambda: sys.exit(3),
    "_exit4": lambda: os._exit(4),
    "abort": os.abort,
}


def act(when):
    if ("script", when) != (WHO, WHEN):
        return
    if CAUSE in ACTS:
        ACTS[CAUSE]()


def task(x):
    wait_for("go")
    return 2 * x


def hog():
    try:
        (CELL / "hogged").touch(exist_ok=False)
    except FileExistsError:
        return  # once is enough
    held = []
    while True:
        held.append(b"x" * (1 << 24))
        time.sleep(0.02)


def here():
    return socket.gethostname(), os.getpid()


def move(client, workers):
    """Have the first worker and the last send each other something large."""
    named = {str(one["name"]): address for address, one in workers.items()}
    pair = named[min(named, key=int)], named[max(named, key=int)]

    def at(address):
        return {"workers": [address], "allow_other_workers": True, "pure": False}

    held = [client.submit(bytes, MOVED, **at(one)) for one in pair]
    wait(held)
    there = zip(held, reversed(pair), strict=True)
    return [client.submit(len, one, **at(other)) for one, other in there]


def work(client):
    workers = client.scheduler_info(n_workers=-1)["workers"]
    at = client.run(here)
    moved = move(client, workers) if WHEN == "moving" else []
    hogs = None
    if (CAUSE, WHO) == ("memory", "worker"):
        last = max(workers, key=lambda address: int(workers[address]["name"]))
        hogs = client.submit(hog, workers=[last])  # first: a worker has one thread
    futures = client.map(task, range(8))
    places = {str(workers[one]["name"]): place for one, place in at.items()}
    tell("begun", json.dumps({"script": here(), **places}))
    act("running")
    if (CAUSE, WHO) == ("memory", "script"):
        wait_for("limited")
        hog()
    wait_for("go")
    if hogs is not None:
        hogs.cancel()  # the one worker that may do it has another address now
    if client.gather(moved) != [MOVED] * len(moved):
        sys.exit("what was moved is not what was sent")
    print(sum(client.gather(futures)), flush=True)


def client_rank():
    ranks = [os.environ[name] for name in RANKS if name in os.environ]
    return not ranks or ranks[0] == ("0" if LAYOUT == "shared" else "1")


def by_runner():
    import dask_runner

    kind = getattr(dask_runner, RUNNERS.get(LAUNCHER, "MPIRunner"))
    with kind() as runner, Client(runner) as client:
        work(client)


def by_initialize():
    from dask_runner import initialize

    initialize()
    with Client() as client:
        work(client)


def by_jobqueue():
    from dask_jobqueue.slurm import SLURMRunner

    file = str(CELL / "scheduler-{job_id}.json")
    with SLURMRunner(scheduler_file=file) as runner, Client(runner) as client:
        client.wait_for_workers(runner.n_workers)
        work(client)


def by_dask_mpi():
    from dask_mpi import initialize

    initialize()
    in_a_client()


def by_dask_mpis_execute():
    from dask_mpi import execute

    execute(in_a_client)


def in_a_client():
    with Client() as client:
        if WAY != "cli":
            client.wait_for_workers(2)
        work(client)


WAYS = {
    "cli": in_a_client,
    "with": by_runner,
    "initialize": by_initialize,
    # What others offer (ci/benchmarks/failures.py).
    "jobqueue": by_jobqueue,
    "daskmpi": by_dask_mpi,
    "execute": by_dask_mpis_execute,
}


def main():
    if client_rank():
        act("before")
    WAYS[WAY]()
    act("closing")
    if (WHO, WHEN) == ("script", "closing"):
        tell("script-closing", json.dumps({"script": here()}))
        with contextlib.suppress(FileNotFoundError):
            wait_for("end")


main()
