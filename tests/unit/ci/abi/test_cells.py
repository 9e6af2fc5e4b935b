"""How the matrix of launchers and images judges what it has run."""

from dataclasses import replace

import pytest

from ci.abi.cells import DASK, MPI, TASKS, Cell, summary, table

GOOD = Cell(
    "openmpi",
    "srun --mpi=pmix",
    "hybrid",
    "compatible",
    "world of 4",
    "workers [0, 1, 2, 3] make 6",
    "sums [6, 6, 6, 6]",
    1.0,
)
MISMATCHED = replace(
    GOOD, said="incompatible", mpi="world of 1", tasks="fails (78)", launcher="mpiexec"
)


def test_what_a_program_did_is_told_by_its_status_and_its_words() -> None:
    assert MPI.did(0, "world of 4\n" * 4) == "world of 4"
    # Libraries print into the same lines.
    assert MPI.did(0, "world of 1world of 1\nx world of 1\nworld of 1") == "world of 1"
    assert MPI.did(0, "world of 4\n") == "1 x world of 4"
    assert MPI.did(0, "world of 3\n" * 3 + "world of 1\n") == (
        "3 x world of 3 1 x world of 1"
    )
    assert MPI.did(15, "world of 4\n" * 4) == "fails (15)"
    assert DASK.did(0, "workers [0, 1] make 1\n") == "workers [0, 1] make 1"
    assert TASKS.did(0, "") == "says nothing"


@pytest.mark.parametrize("cell", [GOOD, MISMATCHED])
def test_what_is_as_check_said_is_right(cell: Cell) -> None:
    assert cell.wrong == ()


@pytest.mark.parametrize(
    "cell",
    [
        replace(GOOD, said="incompatible"),
        replace(MISMATCHED, said="compatible"),
        replace(GOOD, dask="hangs"),
        replace(MISMATCHED, dask="workers [0] make 0"),
        replace(GOOD, tasks="fails (75)"),
        replace(MISMATCHED, tasks="sums [6, 6, 6, 6]"),
        replace(MISMATCHED, tasks="hangs"),
        replace(GOOD, mpi="4 x world of 1", said="compatible"),
    ],
)
def test_what_is_otherwise_is_wrong(cell: Cell) -> None:
    assert len(cell.wrong) >= 1


def test_partial_promises_nothing_of_mpi_and_all_of_the_main_job() -> None:
    partial = replace(GOOD, said="partial", mpi="hangs", tasks="hangs")
    assert partial.wrong == ()
    assert replace(partial, dask="hangs").wrong


def test_the_table_has_a_row_for_a_launcher_and_names_what_is_wrong() -> None:
    bad = replace(MISMATCHED, image="mpich", dask="hangs")
    bound = replace(GOOD, model="bound: MPICH 5 (/x/lib of the host)", said="partial")

    text = table([GOOD, MISMATCHED, bad, bound], "/x")

    assert "| srun --mpi=pmix | world of 4 |  |" in text
    assert "| mpiexec | world of 1 | **the main job: hangs** |" in text
    assert "| MPICH 5 (lib) | srun --mpi=pmix | world of 4 (partial) |" in text
    assert summary([GOOD, MISMATCHED, bad]) == (
        "3 cells, 1 wrong; one world of MPI in 1, in tasks in 1; the main job has "
        "4 workers in 2"
    )
