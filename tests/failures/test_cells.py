"""Nobody hangs, nobody lies: each cell of the matrix, for real."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ci import mpi
from tests.failures.matrix import BY_MPI, Cell, cells, representatives
from tests.failures.play import Outcome, play
from tests.failures.stages import FAMILIES, OnTheCluster, OnThisMachine, Stage

if TYPE_CHECKING:
    from tests.conftest import Require

FEW = frozenset(representatives())


@contextmanager
def staged(cell: Cell, request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage: Stage
    if cell.launcher == "srun":
        stage = OnTheCluster(cell, request.getfixturevalue("place"))
    else:
        stage = OnThisMachine(cell)
    try:
        yield stage
    finally:
        stage.discard()


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
        with require(f"the {family} wheel of the package index", "local"):
            try:
                mpi.runtime(family)
            except subprocess.CalledProcessError as error:
                raise OSError(str(error)) from error

    with staged(cell, request) as stage:
        outcome = play(cell, stage)
        said = stage.output

    note(outcome)
    if outcome.faults:
        faults = "\n".join(outcome.faults)
        pytest.fail(f"{cell.name}\n{faults}\n--- said\n{said}", pytrace=False)
