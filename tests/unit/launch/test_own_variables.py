"""What a child process inherits: all but what makes its parent a rank."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import dask_runner
from dask_runner.launch import own_variables
from dask_runner.launch.own_variables import (
    HYDRA_VARIABLES,
    OWN_VARIABLES,
    PACKAGES_FOR_VARIABLE,
    PACKAGES_VARIABLE,
    REQUEUE_VARIABLE,
    inherited,
    rank_variables,
)
from tests.unit.environs import WORLDS, environ

PACKAGE = Path(dask_runner.__file__).parent
ROOT = Path(__file__).parents[3]

#: Those that import nothing of this package.
COPIES = {
    "node/follower.py",
    "programs/sitehook/for_client.py",
    "programs/sitehook/sitecustomize.py",
}
OURS = re.compile(r"DASK_?RUNNER_[A-Z][A-Z_]*")


def spelled(module: Path) -> set[str]:
    """Return the names of our variables that are texts of a module."""
    texts = (
        node.value
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {text for text in texts if OURS.fullmatch(text)}


def test_our_variables_are_spelled_in_one_place() -> None:
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if (names := spelled(path))
    }
    declared = found.pop("launch/own_variables.py")

    assert found.keys() == COPIES
    assert set().union(*found.values()) <= declared
    assert declared == {
        value
        for name, value in vars(own_variables).items()
        if name.endswith("_VARIABLE")
    }


def test_templates_and_images_know_no_other() -> None:
    texts = [*PACKAGE.rglob("*.j2"), *(ROOT / "images").rglob("*.pth")]
    found = {name for path in texts for name in OURS.findall(path.read_text())}

    assert {"DASKRUNNER_JOB_ID", "DASKRUNNER_SITEHOOK"} <= found
    assert found <= spelled(PACKAGE / "launch/own_variables.py")


@pytest.mark.parametrize(
    "name",
    [
        *(*OWN_VARIABLES, *HYDRA_VARIABLES, REQUEUE_VARIABLE),
        *(PACKAGES_VARIABLE, PACKAGES_FOR_VARIABLE),
    ],
)
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
