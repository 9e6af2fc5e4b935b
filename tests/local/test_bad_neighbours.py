"""Strangers at the hub's port of a cluster that is at work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests import strangers
from tests.programs import BEGIN, UNTIL_TOLD

if TYPE_CHECKING:
    from tests.running import DaskRunner, Run

CODE = f"""{BEGIN}{UNTIL_TOLD}
print(sum(client.gather(client.map(lambda x: 2 * x, range(100)))))
"""

# Of rank 0's top process while a flood stands before it: no more than the hub's
# strangers and what it has in any case; and in KiB.
MOST_FILES = 512 + 100
MOST_GROWTH = 64 * 1024


def hub(run: Run) -> tuple[str, int]:
    """Read where the hub is, as a rank does."""
    (path,) = run.tmp.glob("dask-runner-local-*/*.json")
    record = json.loads(path.read_text())["runner"]
    return record["host"], record["port"]


def holder(run: Run, port: int) -> Path:
    """Return the directory in /proc of the process that listens at a port."""
    listening = {
        f"socket:[{words[9]}]"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if (words := line.split())[3] == "0A" and words[1].endswith(f":{port:04X}")
    }
    for pid in run.pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if str(entry.readlink()) in listening:
                return Path(f"/proc/{pid}")
    raise AssertionError(f"nobody listens at {port}")


def resident(process: Path) -> int:
    """Return its memory in KiB."""
    return int(process.joinpath("status").read_text().split("VmRSS:")[1].split()[0])


def test_bad_neighbours_are_refused_told_of_once_and_stop_nothing(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start("-n", "2", "-c", CODE, timeout=120)
    run.wait_for("begun", 60)
    host, port = hub(run)
    rank_0 = holder(run, port)
    before = resident(rank_0)

    for behave in strangers.KINDS:
        strangers.visit(behave, host, port)
    with strangers.flood(host, port, 10_000):
        strangers.visit(strangers.gigabyte, host, port)
        files = sum(1 for _ in rank_0.joinpath("fd").iterdir())
        grown = resident(rank_0) - before
        (run.cwd / "go").touch()
        ended = run.wait(makes=("go",))

    assert files < MOST_FILES
    assert grown < MOST_GROWTH
    assert ended.status == 0, ended
    assert ended.stdout == "begun\n9900\n"
    assert ended.stderr.count("refused a connection") == 1, ended
