"""The files of running clusters: which are there, and which are believed."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.meeting import cluster_directory, which_cluster
from tests.unit.records import NAMED

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def lay(name: str, environ: dict[str, str], nonce: str = "n") -> Path:
    path = cluster_directory.path_of(name, environ)
    record = replace(NAMED.record, nonce=nonce)
    assert cluster_directory.claim(path, replace(NAMED, name=name, record=record))
    return path


def names(environ: dict[str, str]) -> list[str]:
    return [entry.name for entry in cluster_directory.entries(environ)]


def test_clusters_are_found_in_the_order_of_their_names(
    environ: dict[str, str],
) -> None:
    for name in ("lab", "1234", "a.b_c-d"):
        lay(name, environ)
    assert names(environ) == ["1234", "a.b_c-d", "lab"]


def test_there_are_none_where_none_has_run(environ: dict[str, str]) -> None:
    assert names(environ) == []


def test_other_files_beside_them_are_no_clusters(environ: dict[str, str]) -> None:
    path = lay("lab", environ)
    (path.parent / "slurm.4711.0.json").write_text("{}")
    (path.parent / ".x.aside").write_text("")
    assert names(environ) == ["lab"]


def test_a_name_that_is_taken_is_left_as_it_is(environ: dict[str, str]) -> None:
    path = lay("lab", environ, "first")
    assert not cluster_directory.claim(path, NAMED)
    ((entry),) = cluster_directory.entries(environ)
    assert entry.found is not None
    assert entry.found.record.nonce == "first"


def test_only_its_own_file_is_removed(environ: dict[str, str]) -> None:
    path = lay("lab", environ, "mine")
    cluster_directory.remove(path, "another's")
    assert path.exists()
    cluster_directory.remove(path, "mine")
    assert not path.exists()
    assert not path.parent.exists()
    cluster_directory.remove(path, "mine")  # it is gone, which is what was wanted


def test_the_file_of_a_killed_rank_0_is_found_by_its_nonce(
    environ: dict[str, str],
) -> None:
    mine, other = lay("lab", environ, "mine"), lay("other", environ, "other")
    cluster_directory.remove_of("mine", environ)
    assert (mine.exists(), other.exists()) == (False, True)
    cluster_directory.remove_of("other", {})  # there is no home, and so nothing


def test_a_refreshed_file_is_young(environ: dict[str, str]) -> None:
    path = lay("lab", environ)
    os.utime(path, (1, 1))
    assert cluster_directory.age(path) > cluster_directory.STALE_SECONDS
    cluster_directory.refresh(path)
    assert cluster_directory.age(path) < cluster_directory.STALE_SECONDS


def _half(path: Path) -> None:
    path.write_text(NAMED.dump()[:300])


def _readable(path: Path) -> None:
    path.chmod(0o644)


def _linked(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.symlink_to("aside")


def _renamed(path: Path) -> None:
    path.rename(path.with_name("cluster-lab2.json"))
    path.with_name("cluster-lab2.json").rename(path)
    path.write_text(replace(NAMED, name="lab2").dump())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_half, "is half-written or no record of ours"),
        (_readable, "can be read by others (mode 0644)"),
        (_linked, "is a symbolic link"),
        (_renamed, "is of a cluster named 'lab2'"),
    ],
)
def test_a_file_that_cannot_be_believed_is_named_with_the_reason(
    environ: dict[str, str], spoil: object, why: str
) -> None:
    path = lay("lab", environ)
    spoil(path)  # type: ignore[operator]
    (entry,) = cluster_directory.entries(environ)
    assert (entry.found, entry.trouble) == (None, why)
    with pytest.raises(ConfigError) as error:
        which_cluster.choose("lab", environ)
    assert error.value.saw == f"{path} {why}"


def test_a_directory_that_others_can_write_is_refused(environ: dict[str, str]) -> None:
    lay("lab", environ).parent.chmod(0o770)
    with pytest.raises(ConfigError, match="others can write"):
        cluster_directory.entries(environ)


def test_without_a_home_there_is_no_directory() -> None:
    with pytest.raises(ConfigError, match="HOME is not set"):
        cluster_directory.entries({})
