"""Preloaded by the scheduler and by each worker: holds them as they start or close."""

import asyncio
import json
import os
import socket
from pathlib import Path

CELL = Path(os.environ["CELL"])
HELD = os.environ["CELL_HOLD"]
# The script has been told to go before anything closes.
UNTIL = "end" if HELD == "closing" else "go"
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


async def dask_setup(server):
    schedules = "Scheduler" in type(server).__name__
    if HELD == "before" and schedules:
        await hold("before-scheduler")
    if HELD == "joining" and not schedules:
        await hold(f"joining-{server.name}")


async def dask_teardown(server):
    if HELD == "closing" and "Scheduler" not in type(server).__name__:
        await hold(f"closing-{server.name}")
