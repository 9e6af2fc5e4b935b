"""Nobody hangs, nobody lies: each cell of the matrix, for real."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ci import mpi
from tests.failures.cell import BY_MPI, Cell
from tests.failures.conftest import place_on
from tests.failures.matrix import cells, representatives
from tests.failures.on_the_cluster import OnTheCluster
from tests.failures.on_this_machine import FAMILIES, OnThisMachine
from tests.failures.play import NotReachedError, Outcome, play
from tests.failures.stages import Stage

if TYPE_CHECKING:
    from tests.conftest import Require

FEW = frozenset(representatives())

#: A moment of some seconds may pass on a busy machine before the blow is there. That
#: says nothing of what comes after it, so the cell is played once more.
TRIES = 3


@contextmanager
def staged(cell: Cell, request: pytest.FixtureRequest) -> Iterator[Stage]:
    if cell.launcher == "srun":
        with place_on(request.getfixturevalue("cluster")) as jobs:
            yield from _until_its_end(OnTheCluster(cell, jobs))
    else:
        yield from _until_its_end(OnThisMachine(cell))


def _until_its_end(stage: Stage) -> Iterator[Stage]:
    try:
        yield stage
    finally:
        stage.discard()


@pytest.mark.system("Apptainer", "a lost node")
@pytest.mark.system("Slurm", "a lost node")
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, marks=() if cell in FEW else pytest.mark.heavy, id=cell.name)
        for cell in cells()
    ],
)
def test_a_cell_ends_as_it_must(
    cell: Cell,
    note: Callable[[Outcome], None],
    request: pytest.FixtureRequest,
    require: "Require",
) -> None:
    if cell.launcher in BY_MPI:
        family = FAMILIES[cell.launcher]
        with require(f"the {family} wheel of the package index", "local", "failures"):
            try:
                mpi.runtime(family)
            except subprocess.CalledProcessError as error:
                raise OSError(str(error)) from error

    outcome, said = played(cell, request)

    note(outcome)
    if outcome.faults:
        faults = "\n".join(outcome.faults)
        pytest.fail(f"{cell.name}\n{faults}\n--- said\n{said}", pytrace=False)


def played(cell: Cell, request: pytest.FixtureRequest) -> tuple[Outcome, str]:
    for _ in range(TRIES):
        with staged(cell, request) as stage:
            try:
                return play(cell, stage), stage.output
            except NotReachedError as error:
                missed, said = str(error), stage.output
    return Outcome(cell, 0.0, 0.0, 1.0, None, (missed,), said), said
