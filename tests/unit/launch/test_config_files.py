"""Which files of Dask's configuration there are, and which one set a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dask_runner.launch.config_files import described, setter, with_content

A, B = Path("/etc/dask/a.yaml"), Path("/home/me/b.yaml")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([(A, {"runner": {"min-workers": 3}})], A),
        ([(A, {"runner": {"min_workers": 3}})], A),
        ([(A, {"runner": {"min-workers": 2}}), (B, {"runner": {"min_workers": 3}})], B),
        ([(A, {"runner": {"min-workers": 3}}), (B, {"runner": {"timeout": 3}})], A),
        ([(A, {"runner": {"min-workers": 3}}), (B, {"runner": None})], A),
        ([(A, {"runner": {"min-workers": 3}}), (B, ["a list"])], A),
        ([(A, {"runner": {"min-workers": 3}}), (B, {"runner": {1: 2}})], A),
        ([(A, {"runner": {"min-workers": 2}})], None),
        ([], None),
    ],
)
def test_the_last_file_that_has_the_option_has_set_it(
    files: list[tuple[Path, Any]], found: Path | None
) -> None:
    assert setter("min-workers", 3, files) == found


def test_files_without_a_word_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "defaults.yaml").write_text("# runner:\n\n#   timeout: 1\n")
    (tmp_path / "b.yaml").write_text("a: 1\n")
    (tmp_path / "a.yml").write_text("a: 1\n")
    (tmp_path / "readme").write_text("a: 1\n")
    environ = {"HOME": "/nowhere", "DASK_ROOT_CONFIG": str(tmp_path)}

    assert [path.name for path in with_content(environ)] == ["a.yml", "b.yaml"]
    assert [row[:2] for row in described(environ)] == [
        ("file 1", str(tmp_path / "a.yml")),
        ("file 2", str(tmp_path / "b.yaml")),
    ]


@pytest.mark.parametrize("variable", ["APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"])
def test_a_sites_directory_that_a_container_does_not_see_is_told(variable: str) -> None:
    environ = {"HOME": "/nowhere", "DASK_ROOT_CONFIG": "/nowhere/dask"}

    assert [row[0] for row in described(environ)] == ["files"]
    *_, row = described(environ | {variable: "/x.sif"})
    assert row[1] == "no /nowhere/dask"
    assert "--bind /nowhere/dask" in row[2]
