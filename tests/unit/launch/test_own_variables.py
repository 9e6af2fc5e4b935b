"""What a child process inherits: all but what makes its parent a rank."""

from __future__ import annotations

import pytest

from dask_runner.launch.own_variables import (
    HYDRA_VARIABLES,
    OWN_VARIABLES,
    inherited,
    rank_variables,
)
from tests.unit.environs import WORLDS, environ


@pytest.mark.parametrize("name", [*OWN_VARIABLES, *HYDRA_VARIABLES])
def test_what_makes_a_process_a_rank_is_not_handed_on(name: str) -> None:
    assert inherited({name: "1", "LANG": "C"}, {}) == {"LANG": "C"}


@pytest.mark.parametrize(
    "name",
    [
        "OMPI_COMM_WORLD_RANK",
        "OMPI_MCA_ess_base_vpid",
        "PMIX_NAMESPACE",
        "PMIX_SERVER_URI2",
        "PMI_ID",
        "MPI_LOCALRANKID",
    ],
)
def test_a_prefix_stands_for_all_variables_of_its_kind(name: str) -> None:
    assert rank_variables({name: "1"}) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "OMPI_MCA_btl",
        "PMIX_MCA_gds",
        "PMI_DEBUG",
        "MPICH_OFI_NIC_POLICY",
        "SLURM_JOB_ID",
        "DASKRUNNER",
    ],
)
def test_settings_and_the_name_of_the_job_are_kept(name: str) -> None:
    assert inherited({name: "1"}, {}) == {name: "1"}


def test_what_is_added_counts_for_more() -> None:
    environ = {"PATH": "/bin", "TMPDIR": "/tmp", "PMI_RANK": "3"}

    assert inherited(environ, {"TMPDIR": "/mine", "PMI_RANK": "0"}) == {
        "PATH": "/bin",
        "TMPDIR": "/mine",
        "PMI_RANK": "0",
    }


@pytest.mark.parametrize("name", WORLDS)
def test_no_child_of_a_rank_of_an_mpiexec_finds_its_launcher(name: str) -> None:
    left = inherited(environ(name), {})

    assert not [
        variable
        for variable in left
        if variable.startswith(("OMPI_COMM_WORLD_", "PMIX_RANK", "PMI_RANK", "PMI_FD"))
    ]
