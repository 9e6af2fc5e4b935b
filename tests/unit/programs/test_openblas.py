"""The number of OpenBLAS's threads, as a fresh process would read it."""

import pytest

from dask_runner.programs.openblas import wanted


@pytest.mark.parametrize(
    ("environ", "threads"),
    [
        ({}, 8),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "3", "GOTO_NUM_THREADS": "4"}, 4),
        ({"OPENBLAS_NUM_THREADS": "0", "OMP_NUM_THREADS": "5"}, 5),
        ({"OPENBLAS_NUM_THREADS": "many"}, 8),
        ({"OPENBLAS_NUM_THREADS": ""}, 8),
        ({"OPENBLAS_NUM_THREADS": "64"}, 8),
    ],
)
def test_the_first_variable_with_a_number_says_it_up_to_the_cpus(
    environ: dict[str, str], threads: int
) -> None:
    assert wanted(environ, cpus=8) == threads
