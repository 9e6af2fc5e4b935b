"""A program that a cluster runs finds its own cluster, and no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import UnavailableError
from dask_runner.launch.own_variables import CLUSTER_VARIABLE
from dask_runner.meeting import cluster_directory, which_cluster
from tests.unit.records import NAMED as LAB

if TYPE_CHECKING:
    from pathlib import Path

    from dask_runner.meeting.named_record import NamedRecord

OTHER = replace(LAB, name="other", record=replace(LAB.record, nonce="cd" * 16))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    environ = {"HOME": str(tmp_path)}
    for named in (LAB, OTHER):
        path = cluster_directory.path_of(named.name, environ)
        assert cluster_directory.claim(path, named)
    return environ


@pytest.mark.parametrize("named", [LAB, OTHER])
def test_without_a_name_it_is_the_one_that_runs_the_program(
    named: NamedRecord, environ: dict[str, str]
) -> None:
    own = {**environ, CLUSTER_VARIABLE: named.record.nonce}
    assert which_cluster.choose(None, own)[1] == named


def test_a_name_counts_for_more(environ: dict[str, str]) -> None:
    own = {**environ, CLUSTER_VARIABLE: LAB.record.nonce}
    assert which_cluster.choose("other", own)[1] == OTHER


def test_a_shell_that_outlives_its_cluster_does_not_take_another(
    environ: dict[str, str],
) -> None:
    own = {**environ, CLUSTER_VARIABLE: "ef" * 16}
    with pytest.raises(UnavailableError, match="the cluster of this program") as none:
        which_cluster.choose(None, own)
    assert "lab, other" in none.value.needed
