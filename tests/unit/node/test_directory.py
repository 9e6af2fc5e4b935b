"""A rank's private directory: who can see it, what is told of it, what is left."""

from __future__ import annotations

import ast
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.meeting import tls
from dask_runner.node.directory import TAIL, RankDirectory
from tests.unit.records import RECORD


@pytest.fixture
def directory(tmp_path: Path) -> RankDirectory:
    return RankDirectory(str(tmp_path), {"LANG": "C", "PMI_RANK": "3"})


def test_it_is_ours_alone_and_goes_with_all_that_is_in_it(
    directory: RankDirectory, tmp_path: Path
) -> None:
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    (directory.path / "spilled").mkdir()
    (directory.path / "spilled" / "part").touch()

    directory.remove()

    assert list(tmp_path.iterdir()) == []


def test_where_none_can_be_made_the_user_learns_which_option_helps(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="no directory can be made in") as caught:
        RankDirectory(str(tmp_path / "nowhere"), {})

    assert "--local-directory" in caught.value.do


def test_processes_begin_with_the_ranks_variables_and_none_of_its_launchers(
    directory: RankDirectory,
) -> None:
    found = directory.environment({"MORE": "1"})

    assert (found["LANG"], found["MORE"]) == ("C", "1")
    assert "PMI_RANK" not in found
    # As Dask reads it.
    read = ast.literal_eval(found["DASK_TEMPORARY_DIRECTORY"])
    assert read == str(directory.path)


def test_the_end_of_a_log_is_told_without_what_is_no_trouble(
    directory: RankDirectory,
) -> None:
    lines = [f"line {number}" for number in range(TAIL + 5)]
    text = "\n".join([*lines, "12:00 INFO all is well"])
    Path(directory.log("scheduler")).write_text(text)

    told = directory.tail("scheduler")

    assert told.splitlines() == ["", *(f"  | {line}" for line in lines[-TAIL:])]
    assert directory.tail("agent") == ""


def test_without_keys_none_are_written(directory: RankDirectory) -> None:
    directory.tls(replace(RECORD, encrypts=False))

    assert list(directory.path.iterdir()) == []


def test_the_keys_are_written_once_and_named_by_variables(
    directory: RankDirectory,
) -> None:
    first = directory.tls(RECORD)
    files = sorted(path.name for path in (directory.path / tls.DIRECTORY).iterdir())

    assert (
        directory.tls(RECORD)
        == first
        == tls.variables(*tls.in_directory(directory.path / tls.DIRECTORY))
    )
    assert len(files) == 2
