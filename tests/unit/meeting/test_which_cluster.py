"""Which cluster a user means."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError, UnavailableError
from dask_runner.meeting import cluster_directory, which_cluster
from tests.unit.records import NAMED

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def lay(name: str, environ: dict[str, str]) -> None:
    path = cluster_directory.path_of(name, environ)
    assert cluster_directory.claim(path, replace(NAMED, name=name))


def test_a_cluster_is_chosen_by_its_name(environ: dict[str, str]) -> None:
    lay("lab", environ)
    lay("other", environ)
    entry, named = which_cluster.choose("lab", environ)
    assert (entry.name, named.name) == ("lab", "lab")


def test_the_only_cluster_needs_no_name(environ: dict[str, str]) -> None:
    lay("lab", environ)
    assert which_cluster.choose(None, environ)[0].name == "lab"


def test_of_two_clusters_one_has_to_be_named(environ: dict[str, str]) -> None:
    lay("lab", environ)
    lay("other", environ)
    with pytest.raises(ConfigError, match="2 clusters, and no name: lab, other"):
        which_cluster.choose(None, environ)
    # `dask-runner logs otter`, where it could be the name of a process.
    with pytest.raises(ConfigError, match="2 clusters, and none is 'otter': lab, oth"):
        which_cluster.choose(None, environ, word="otter")


def test_a_name_that_is_not_there_is_told_with_those_that_are(
    environ: dict[str, str],
) -> None:
    lay("lab", environ)
    with pytest.raises(UnavailableError) as error:
        which_cluster.choose("lob", environ)
    assert "no cluster named 'lob' in" in error.value.saw
    assert error.value.needed == "one of lab"


def test_that_there_is_no_cluster_is_told_with_the_place(
    environ: dict[str, str],
) -> None:
    with pytest.raises(UnavailableError, match=r"no cluster in .*/\.dask-runner on "):
        which_cluster.choose(None, environ)


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x" * 65, "a/b", "ü"])
def test_what_is_no_name_is_refused_before_any_file_is_touched(name: str) -> None:
    with pytest.raises(ConfigError, match="the name "):
        which_cluster.choose(name, {})
