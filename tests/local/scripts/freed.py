"""Tells what a worker does with the memory that its tasks free."""

import resource
import sys
import time

from dask.distributed import Client

BLOCKS, BLOCK = 24, 4 << 20
SECONDS = 30


def faults():
    """Make blocks, and free them; return how many pages the kernel had to give."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    made = [b"x" * BLOCK for _ in range(BLOCKS)]
    assert len(made) == BLOCKS
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def used():
    """Return the bytes that the worker has, which is no task that it is busy with."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def used_by_one(client):
    """Return that of the only worker."""
    return next(iter(client.run(used).values()))


client = Client()
pages = BLOCKS * BLOCK // resource.getpagesize()
client.submit(faults, pure=False).result()
again = client.submit(faults, pure=False).result()
if again > pages / 10:
    print("asks again")
    sys.exit()
print("keeps")
full, until = used_by_one(client), time.monotonic() + SECONDS
while used_by_one(client) > full - BLOCKS * BLOCK / 2 and time.monotonic() < until:
    time.sleep(0.1)
print("gives back" if time.monotonic() < until else "keeps all")
