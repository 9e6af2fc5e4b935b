"""Preloaded by the scheduler and by each worker: holds them as they start or close.

Or a worker is held when it has the beginning of a large frame from a neighbour, whose
socket is full then.
"""

import asyncio
import json
import os
import socket
from pathlib import Path

from distributed.comm import tcp

CELL = Path(os.environ["CELL"])
HELD = os.environ["CELL_HOLD"]
# The script has been told to go before anything closes.
UNTIL = "end" if HELD == "closing" else "go"
#: Bytes of a large frame: more than a socket holds.
LARGE = 1 << 25
STEP = 0.02
STEPS = 7500


async def hold(name):
    aside = CELL / f".{name}"
    aside.write_text(json.dumps([socket.gethostname(), os.getpid()]))
    aside.replace(CELL / name)
    for _ in range(STEPS):
        if (CELL / UNTIL).exists():
            return
        await asyncio.sleep(STEP)


def hold_frames(name):
    read = tcp.read_bytes_rw

    async def held(stream, size):
        if size > LARGE and stream.socket.family == socket.AF_UNIX:
            await hold(f"moving-{name}")
        return await read(stream, size)

    tcp.read_bytes_rw = held


async def dask_setup(server):
    schedules = "Scheduler" in type(server).__name__
    if HELD == "before" and schedules:
        await hold("before-scheduler")
    if HELD == "moving" and not schedules:
        hold_frames(server.name)
    if HELD == "joining" and not schedules:
        await hold(f"joining-{server.name}")


async def dask_teardown(server):
    if HELD == "closing" and "Scheduler" not in type(server).__name__:
        await hold(f"closing-{server.name}")
