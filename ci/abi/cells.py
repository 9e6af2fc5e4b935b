"""One launcher with one image: what check predicts, what then happens, and a table."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

RANKS = 4
WORLD = f"world of {RANKS}"
HANGS = "hangs"

# A ring of 4 MiB messages; a world of one sends none.
_RING = """\
from mpi4py import MPI
world = MPI.COMM_WORLD
if world.size > 1:
    left, right = (world.rank - 1) % world.size, (world.rank + 1) % world.size
    got = bytearray(4 << 20)
    world.Sendrecv(bytearray([world.rank]) * len(got), right, 0, got, left, 0)
    assert set(got) == {left}
"""

_CLIENT = """\
from dask.distributed import Client
client = Client()
found = client.scheduler_info(n_workers=-1)["workers"].values()
ranks = sorted(int(worker["id"]) for worker in found)
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A script that is run in each cell.

    Attributes
    ----------
    file, text : str
        The script's name and content.
    verb, words : str
        Apptainer's verb, and the words before the script.
    says : str
        Pattern of what it prints if it works.
    times : int
        How often it prints that: once, or once a rank.
    """

    file: str
    text: str
    verb: str
    words: str
    says: str
    times: int = 1

    def did(self, status: int, output: str) -> str:
        """Return in words what it did."""
        # Anywhere in a line: a library may print to the same line.
        said = re.findall(self.says, output)
        if status:
            return f"fails ({status})"
        told = Counter(said)
        return (
            " ".join(
                one if number == self.times else f"{number} x {one}"
                for one, number in told.items()
            )
            or "says nothing"
        )


#: A program of MPI, about which check says whether it works.
MPI = Program(
    "mpi.py",
    _RING + 'print("world of", world.size, flush=True)\n',
    "exec",
    "python",
    r"world of \d+",
    RANKS,
)
#: A Dask script, which needs no MPI.
DASK = Program(
    "dask_job.py",
    _CLIENT + 'print("workers", ranks, "make", client.submit(sum, ranks).result())\n',
    "run",
    "",
    r"workers \[[\d, ]*\] make \d+",
)
#: Both: tasks in all workers, which are one world of MPI.
TASKS = Program(
    "tasks.py",
    "def ring(rank):\n"
    + "".join(f"    {line}\n" for line in _RING.splitlines())
    + "    assert world.rank == rank\n    return world.allreduce(rank)\n\n"
    + _CLIENT
    + "sums = [client.submit(ring, rank, workers=rank) for rank in ranks]\n"
    + 'print("sums", client.gather(sums))\n',
    "run",
    "--mpi-tasks",
    r"sums \[[\d, ]*\]",
)
PROGRAMS = (MPI, DASK, TASKS)

_WORKERS = f"workers {list(range(RANKS))} make {sum(range(RANKS))}"
_SUMS = f"sums {[sum(range(RANKS))] * RANKS}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One launcher with one image.

    Attributes
    ----------
    image, launcher : str
    model : str
        hybrid, or which library is bound.
    said : str
        The verdict of check.
    mpi, dask, tasks : str
        What each program did.
    seconds : float
        For all three.
    """

    image: str
    launcher: str
    model: str
    said: str
    mpi: str
    dask: str
    tasks: str
    seconds: float

    @property
    def key(self) -> tuple[str, ...]:
        """What no two cells have in common."""
        return self.image, self.launcher, self.model

    @property
    def wrong(self) -> tuple[str, ...]:
        """What check did not predict, in words; empty if all is as predicted."""
        found = []
        works = self.mpi == WORLD
        if self.said == ("incompatible" if works else "compatible"):
            found.append(f"{self.mpi}, said to be {self.said}")
        if self.dask != _WORKERS:
            found.append(f"the main job: {self.dask}")
        # A partial pair may work in one run and fail in the next.
        if self.said != "partial" and (
            self.tasks != _SUMS if works else not self.tasks.startswith("fails")
        ):
            found.append(f"MPI in tasks: {self.tasks}, and the MPI program: {self.mpi}")
        return tuple(found)


def table(cells: Sequence[Cell], shared: str) -> str:
    """Return the cells in Markdown.

    Parameters
    ----------
    cells : sequence of Cell
    shared : str
        Directory of the runtimes, which is left out of the table.
    """
    hybrid = [cell for cell in cells if cell.model == "hybrid"]
    images = list(dict.fromkeys(cell.image for cell in hybrid))
    found = {(cell.launcher, cell.image): cell for cell in hybrid}
    lines = ["| started by |" + "".join(f" {image} |" for image in images)]
    lines.append("|---" * (len(images) + 1) + "|")
    for launcher in dict.fromkeys(cell.launcher for cell in hybrid):
        row = (found.get((launcher, image)) for image in images)
        marks = "".join(f" {_mark(x)} |" for x in row)
        lines.append(f"| {_short(launcher, shared)} |{marks}")
    bound = {(cell.model, cell.image): cell for cell in cells if cell.model != "hybrid"}
    images = list(dict.fromkeys(image for _, image in bound))
    lines += ["", "| bound | started by |" + "".join(f" {image} |" for image in images)]
    lines.append("|---" * (len(images) + 2) + "|")
    for model in dict.fromkeys(model for model, _ in bound):
        cells_of = [bound.get((model, image)) for image in images]
        launcher = next(cell.launcher for cell in cells_of if cell)
        marks = "".join(f" {_mark(x)} |" for x in cells_of)
        library = _short(model, shared).removeprefix("bound: ")
        lines.append(f"| {library} | {_short(launcher, shared)} |{marks}")
    return "\n".join(lines) + "\n"


def summary(cells: Sequence[Cell]) -> str:
    """Return the counts, as a sentence."""
    dask = sum(cell.dask == _WORKERS for cell in cells)
    tasks = sum(cell.tasks == _SUMS for cell in cells)
    worlds = sum(cell.mpi == WORLD for cell in cells)
    wrong = sum(bool(cell.wrong) for cell in cells)
    return (
        f"{len(cells)} cells, {wrong} wrong; one world of MPI in {worlds}, in tasks "
        f"in {tasks}; the main job has {RANKS} workers in {dask}"
    )


def _short(text: str, shared: str) -> str:
    return text.replace(f"{shared}/", "").replace(" of the host", "")


def _mark(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.wrong:
        return f"**{'; '.join(cell.wrong)}**"
    return f"{cell.mpi} (partial)" if cell.said == "partial" else cell.mpi
