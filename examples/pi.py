"""Estimate pi by throwing darts at a square, and show which process threw them.

dask-runner -n 4 examples/pi.py [DARTS]        or plain: python examples/pi.py
"""

import math
import os
import random
import socket
import sys
import time
from collections import Counter

from dask.distributed import Client, get_worker

TASKS = 64


def throw(seed, darts):
    """Count the darts that land in the circle, and say who counted."""
    rng = random.Random(seed)
    hits = sum(math.hypot(rng.random(), rng.random()) < 1 for _ in range(darts))
    return hits, (get_worker().name, socket.gethostname(), os.getpid())


def main():
    """Throw all darts, then print a line for each process and the result."""
    darts = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    # Without an address: finds the cluster that it runs on, or starts a local one.
    with Client() as client:
        began = time.monotonic()
        futures = client.map(throw, range(TASKS), darts=darts // TASKS)
        results = client.gather(futures)
        seconds = time.monotonic() - began

    tasks = Counter(who for _, who in results)
    print("worker  host                  pid  tasks")
    for (worker, host, pid), count in sorted(tasks.items(), key=str):
        print(f"{worker!s:7} {host:16} {pid:>8} {count:>6}  {'#' * count}")
    pi = 4 * sum(hits for hits, _ in results) / (darts // TASKS * TASKS)
    print(f"{darts:,} darts in {seconds:.1f} s: pi = {pi:.5f} ({pi - math.pi:+.5f})")


if __name__ == "__main__":
    main()
