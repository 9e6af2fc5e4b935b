"""Add so many workers to the cluster, from a few processes, and use them."""

import asyncio
import contextlib
import os
import resource
import subprocess
import sys

from distributed import Client, Worker

EACH = 50


async def serve(first, count):
    async with contextlib.AsyncExitStack() as stack:
        own = {"nthreads": 1, "memory_limit": 0, "dashboard_address": "127.0.0.1:0"}
        names = [f"crowd-{number}" for number in range(first, first + count)]
        address = os.environ["DASK_SCHEDULER_ADDRESS"]
        # As a nanny's child would; several in a process are no real workers.
        await asyncio.gather(
            *(
                stack.enter_async_context(Worker(address, name=name, **own))
                for name in names
            )
        )
        await asyncio.to_thread(sys.stdin.read)


def main(count):
    me, everyone = [sys.executable, __file__], []
    for first in range(0, count, EACH):
        words = [*me, "serve", str(first), str(min(EACH, count - first))]
        everyone.append(subprocess.Popen(words, stdin=subprocess.PIPE))
    try:
        with Client(timeout=120) as client:
            client.wait_for_workers(count + 1, timeout=240)
            workers = [f"crowd-{number}" for number in range(count)]
            each = [client.submit(str, n, workers=n, pure=False) for n in workers]
            print("each", client.gather(each) == workers)
            print("sum", client.submit(sum, client.map(int, range(4 * count))).result())
            print("broadcast", len(client.run(os.getpid)))
        with Client(direct_to_workers=True) as direct:
            each = [direct.submit(str, n, workers=n, pure=False) for n in workers]
            print("direct", direct.gather(each) == workers)
    finally:
        for one in everyone:
            one.stdin.close()
        for one in everyone:
            one.wait()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        asyncio.run(serve(*map(int, sys.argv[2:])))
    else:
        main(int(sys.argv[1]))
