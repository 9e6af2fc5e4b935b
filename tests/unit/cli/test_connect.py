"""Which words of ``connect`` are a cluster's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_runner.cli.connect import is_name
from dask_runner.meeting import cluster_directory
from tests.unit.records import NAMED

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("lab", True),
        ("lob", True),  # so that it is told that there is no such cluster
        ("./lab", False),
        ("script.py", False),
        ("dir/script", False),
        ("here", False),
        ("-", False),
    ],
)
def test_a_word_is_a_name_unless_it_can_only_be_a_script(
    word: str, name: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"HOME": str(tmp_path)}
    cluster_directory.claim(cluster_directory.path_of("lab", environ), NAMED)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    (tmp_path / "lab").touch()

    assert is_name(word, environ) is name
