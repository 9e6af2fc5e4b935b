"""Ranks whose MPIs are of two families."""

import pytest

from dask_runner.errors import ConfigError
from dask_runner.mpi import families

OPENMPI_4, OPENMPI_5 = "Open MPI v4.1.8, package: ...", "Open MPI v5.0.7, package: ..."
MPICH_4 = "MPICH Version:      4.3.2\nMPICH ..."


def test_two_families_in_one_job_are_refused_by_rank() -> None:
    with pytest.raises(ConfigError) as caught:
        families.refuse_two(dict.fromkeys(range(6), OPENMPI_5) | {6: MPICH_4})

    assert "openmpi in rank 0, 1, 2, 3 …; mpich in rank 6" in caught.value.saw
    assert "4.3.2" in caught.value.do
    families.refuse_two({0: OPENMPI_4, 1: OPENMPI_5, 2: "", 3: "of nobody"})
