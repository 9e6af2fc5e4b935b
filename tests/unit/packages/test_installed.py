"""What this Python has already."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from dask_runner.packages.installed import (
    binary_interface,
    installed,
    normalized,
    python,
)


def test_the_packages_of_this_python_are_there_with_what_they_require() -> None:
    found = {one.name: one for one in installed()}

    assert found["dask"].version == version("dask")
    assert "Requires-Dist" in found["distributed"].metadata
    assert found["dask-runner"].pinned == f"dask-runner=={version('dask-runner')}"
    assert [*found] == sorted(found)


@pytest.mark.parametrize("name", ["Two.Words", "two_words", "two--words"])
def test_equal_names_are_equal(name: str) -> None:
    assert normalized(name) == "two-words"


def test_a_python_is_told_from_others() -> None:
    assert binary_interface() in python()
    assert sys.prefix in python()
