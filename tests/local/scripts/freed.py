"""Tells what a worker does with the memory that its tasks free.

The argument is how many MiB it has in use besides.
"""

import resource
import sys
import time

from dask.distributed import Client

THREADS = 4
BLOCKS, BLOCK = 6, 4 << 20
SECONDS = 30


def faults(seconds=0.2):
    """Make blocks, and free them; return how many pages the kernel had to give.

    Tasks that run at the same time are each in a thread of their own.
    """
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    made = [b"x" * BLOCK for _ in range(BLOCKS)]
    assert len(made) == BLOCKS
    time.sleep(seconds)
    del made
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


def asked():
    """Return how many pages the kernel had to give to all threads."""
    tasks = client.map(lambda _: faults(), range(THREADS), pure=False)
    return sum(client.gather(tasks))


def used():
    """Return the bytes that the worker has, which is no task that it is busy with."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def used_by_one():
    """Return that of the only worker."""
    return next(iter(client.run(used).values()))


def have(mebibytes):
    """Have memory in use besides."""
    sys.besides = b"x" * (mebibytes << 20)


client = Client()
client.run(have, int(sys.argv[1]))
freed = THREADS * BLOCKS * BLOCK
pages = freed / resource.getpagesize()
until = time.monotonic() + SECONDS
asked()
before = used_by_one()
# A worker looks after its memory twice a second.
often = [asked() for _ in range(8)]
if sum(each > pages / 2 for each in often) > 4:
    print("asks again")
    sys.exit()
if sum(each < pages / 10 for each in often) > 4:
    print("keeps")
while used_by_one() > before - freed / 2 and time.monotonic() < until:
    time.sleep(0.1)
print("gives back" if time.monotonic() < until else "keeps all")
