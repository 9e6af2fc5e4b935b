"""The run of report.svg: work in two waves, and a worker that is killed in between."""

import os
import signal
import time

from distributed import Client, get_worker


def hold(mebibytes: int) -> bytes:
    """Work for two seconds, and return what takes memory."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        sum(range(10_000))
    return b"x" * (mebibytes * 2**20)


def die(name: str) -> None:
    """End the worker of a name, as the kernel does when memory is short."""
    if get_worker().name == name:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    client = Client()
    kept = client.map(hold, [24] * 12, pure=False)
    client.gather(client.map(len, kept))
    client.run(lambda: None)
    killed = client.submit(die, 2, workers=[2], allow_other_workers=False, retries=1)
    client.gather(client.map(len, client.map(hold, [24] * 12, pure=False)))
