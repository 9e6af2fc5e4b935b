"""What is known of the image, and what it sets for MPI."""

import json
from pathlib import Path

import pytest

from dask_runner.mpi.image import describe, facts, library

FACTS = {
    "mpi": {"family": "mpich", "vendor": "MPICH", "version": "4.2.1"},
    "pmi": ["pmi1", "pmi2"],
    "pmix": None,
}


def test_outside_of_an_image_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert facts(tmp_path / "abi.json") is None


def test_the_facts_are_read_as_they_were_measured(tmp_path: Path) -> None:
    (tmp_path / "abi.json").write_text(json.dumps(FACTS))
    assert facts(tmp_path / "abi.json") == FACTS


def test_an_image_is_told_by_its_mpi_and_its_pmi() -> None:
    rows = {name: value for name, value, _ in describe({}, FACTS)}
    assert (rows["mpi"], rows["pmi"], rows["pmix"]) == (
        "MPICH 4.2.1",
        "pmi1 pmi2",
        "none",
    )


def test_an_image_without_mpi_is_told_as_such() -> None:
    bare = {"mpi": {"family": "none"}, "pmi": [], "pmix": None}
    rows = {name: value for name, value, _ in describe({}, bare)}
    assert (rows["mpi"], rows["pmi"]) == ("none", "none")


def test_a_setting_is_the_images_or_said_to_be_another() -> None:
    environ = {
        "UCX_POSIX_USE_PROC_LINK": "n",
        "MPIR_CVAR_CH4_CMA_ENABLE": "1",
    }
    rows = {name: (value, source) for name, value, source in describe(environ, FACTS)}
    value, source = rows["UCX_POSIX_USE_PROC_LINK"]
    assert (value, source.partition(":")[0]) == ("n", "set by the image")
    value, source = rows["MPIR_CVAR_CH4_CMA_ENABLE"]
    assert (value, source.partition(":")[0]) == ("1", "not the image's '0'")
    value, source = rows["OMPI_MCA_btl_vader_single_copy_mechanism"]
    assert (value, source.partition(":")[0]) == ("not set", "not the image's 'none'")


@pytest.mark.parametrize(
    ("named", "title"),
    [
        ("/host/lib/libmpi.so.40", "Open MPI (/host/lib/libmpi.so.40)"),
        ("/host/lib/libmpi.so.40.30.8", "Open MPI (/host/lib/libmpi.so.40.30.8)"),
        ("/opt/cray/libmpi_gnu_123.so.12", "MPICH (/opt/cray/libmpi_gnu_123.so.12)"),
        ("/host/lib/libmpi.so", ""),
        ("/host/lib/libmpi.so.4", ""),
    ],
)
def test_a_library_that_is_named_is_told_by_its_name(named: str, title: str) -> None:
    assert library({"MPI4PY_LIBMPI": named}) == title


def test_a_library_that_is_not_named_is_the_images(tmp_path: Path) -> None:
    (tmp_path / "abi.json").write_text(json.dumps(FACTS))
    assert library({}, tmp_path / "abi.json") == "MPICH Version: 4.2.1"
    assert library({}, tmp_path / "none.json") == ""
