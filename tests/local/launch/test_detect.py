"""What the table of launchers costs a rank that is only a follower."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_thin_ranks_load_nothing_heavy_with_the_table() -> None:
    code = "import sys; import dask_runner.launch.detect; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "runner")},
    )
    heavy = {"asyncio", "shlex", "hashlib", "dask", "click", "socket", "subprocess"}
    assert not heavy & set(done.stdout.split())
