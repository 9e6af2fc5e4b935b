"""Loaded by every Python of a cell: holds one rank at its first step."""

import os
import time
from pathlib import Path

CELL = Path(os.environ.get("CELL", "/nonexistent"))
RANKS = (
    "DASKRUNNER_RANK",
    "DASKRUNNER_HOST_RANK",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "SLURM_PROCID",
)
PATIENCE = 150


def hold():
    try:
        (CELL / "gate").touch(exist_ok=False)
    except FileExistsError:
        return  # this rank's first process it was
    deadline = time.monotonic() + PATIENCE
    while not (CELL / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


ranks = [os.environ[name] for name in RANKS if name in os.environ]
# Without a launcher, the script is rank 0 and is told by nobody.
if os.environ.get("CELL_NAME", "").endswith("-local-shared-with"):
    ranks = ["0"]
if ranks and ranks[0] == os.environ.get("CELL_GATE"):
    hold()
