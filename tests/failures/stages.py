"""What a stage is, on which a cell is played, and what its processes are told.

There are two: ``on_this_machine.py`` and ``on_the_cluster.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.failures.cell import OF_A_SCRIPT
from tests.failures.ends import PATIENT, SILENCE, TIMEOUT

if TYPE_CHECKING:
    from tests.failures.cell import Cell
    from tests.failures.parts import Process

JOB = Path(__file__).with_name("job")

#: As a batch system that counts no ranks: the status is the highest.
LOOP = (
    "sh",
    "-c",
    """\
count=$1 ranks= highest=0
shift
while [ $((count -= 1)) -ge 0 ]; do
    # A shell has what it starts in the background ignore Ctrl-C.
    env --default-signal=INT "$@" &
    ranks="$ranks $!"
done
for rank in $ranks; do
    wait "$rank"
    status=$?
    [ "$status" -le "$highest" ] || highest=$status
done
exit "$highest"
""",
    "loop",
)

#: Bytes of memory that a worker may have.
WORKERS_MEMORY = "400MB"


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of a job that is over.

    Attributes
    ----------
    status : int or None
        The launcher's as a shell sees it; None if it never ended.
    stdout, stderr : str
    at : float
        When its last process was gone, on the clock of `time.monotonic`.
    stays : tuple of str
        Processes and files that it has left behind.
    """

    status: int | None
    stdout: str
    stderr: str
    at: float
    stays: tuple[str, ...]


class Stage(Protocol):
    """One job that plays a cell."""

    @property
    def output(self) -> str:
        """What it printed so far, on both streams."""

    @property
    def over(self) -> bool:
        """Whether the launcher has ended."""

    def hear(self, name: str) -> str:
        """Wait a moment for a file in CELL; return its text, or "" without one."""

    def tell(self, name: str) -> None:
        """Make a file in CELL."""

    def processes(self) -> list[Process]:
        """Return the job's living processes."""

    def signal(self, process: Process, number: int) -> None:
        """Signal one of them."""

    def signal_launcher(self, number: int) -> None:
        """Signal the launcher, or let it be told to end."""

    def strike_node(self, name: str, cause: str) -> None:
        """Let something happen to a node."""

    def wait(self, seconds: float) -> Ended:
        """Wait until nothing of it is left, but not longer."""

    def discard(self) -> None:
        """End and remove what is left."""


def _held(cell: Cell) -> tuple[str, str]:
    """Return at what point Dask's servers wait, and which rank does at its start."""
    by_itself = cell.cause in OF_A_SCRIPT
    if by_itself or (cell.who, cell.when) == ("script", "closing"):
        return "", ""
    ranks = {"hub": 0, "top": cell.ranks - 1}
    if cell.asks_before:
        # Whoever it waits for: one that is held itself would not hear it.
        ranks = {"hub": cell.ranks - 1, "top": 0}
    if cell.way != "cli":
        ranks["script"] = cell.client_rank
    if cell.when == "before" and cell.who in ranks:
        return "", str(ranks[cell.who])
    return cell.when, ""


def variables(cell: Cell, base: str) -> dict[str, str]:
    """Return what a cell's processes find in their environment."""
    hold, gate = _held(cell)
    waits_in_vain = (gate and not cell.asks_before) or (
        cell.when == "before" and cell.cause in OF_A_SCRIPT and cell.way != "cli"
    )
    found = {
        "CELL": f"{base}/cell",
        "CELL_NAME": cell.name,
        "CELL_HOLD": hold,
        "CELL_GATE": gate,
        "PYTHONPATH": f"{base}/job",
        "DASK_RUNNER__TIMEOUT": str(TIMEOUT if waits_in_vain else PATIENT),
        "DASK_RUNNER__LAYOUT": cell.layout,
        "DASK_RUNNER__SILENCE": str(SILENCE),
        "DASK_RUNNER__NTHREADS": "1",
        "DASK_RUNNER__DASHBOARD": "False",
        "DASK_DISTRIBUTED__WORKER__PRELOAD": "['hold']",
        "DASK_DISTRIBUTED__SCHEDULER__PRELOAD": "['hold']",
    }
    if (cell.cause, cell.who) == ("memory", "worker"):
        found["DASK_RUNNER__MEMORY_LIMIT"] = WORKERS_MEMORY
    return found


def program(cell: Cell, python: str, dask_runner: str, script: str) -> list[str]:
    """Return the command that each rank is, or that starts the ranks."""
    if cell.way != "cli":
        return [python, script]
    each = cell.ranks // 2
    starts = {
        "local": ["-n", str(cell.ranks)],
        # Two names of this machine, which is two hosts then.
        "hosts": ["--hosts", f"localhost:{each},127.0.0.1:{each}"],
        "handed": ["--size", str(cell.ranks), "--name", "cell"],
    }
    command = [dask_runner, *starts.get(cell.launcher, []), script]
    return [*LOOP, str(cell.ranks), *command] if cell.launcher == "handed" else command


def node_of(cell: Cell) -> str:
    """Return the node that is struck: rank 0's, or the last rank's."""
    return "c1" if cell.who == "node0" or cell.cause == "memory" else "c2"
