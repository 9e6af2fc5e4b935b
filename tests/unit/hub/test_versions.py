"""Other versions than the cluster's are told in one line."""

from __future__ import annotations

import platform
from dataclasses import replace

import distributed
import pytest

from dask_runner.hub.versions import tell_of_others
from tests.unit.records import NAMED

OURS = replace(
    NAMED, python=platform.python_version(), distributed=distributed.__version__
)


def test_the_same_versions_are_not_worth_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_of_others(OURS)
    patch = OURS.python.rpartition(".")[0] + ".99"
    tell_of_others(replace(OURS, python=patch))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("other", [{"python": "2.7.18"}, {"distributed": "1.28.1"}])
def test_others_are_named(
    other: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    tell_of_others(replace(OURS, **other))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dask-runner: warning: the cluster 'lab' has Python ")
    assert next(iter(other.values())) in line
    assert platform.python_version() in line
