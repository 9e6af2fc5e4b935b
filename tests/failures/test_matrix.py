"""The matrix itself: which cells there are, and that each has an end."""

import re
from dataclasses import astuple
from itertools import product

import pytest

from tests.failures import matrix
from tests.failures.cell import Cell
from tests.failures.ends import ROWS, end
from tests.failures.matrix import RULES, cells, representatives, why_not
from tests.failures.parts import Process, plays, ranked

AXES = (
    matrix.CAUSES,
    matrix.WHO,
    matrix.WHEN,
    matrix.LAUNCHERS,
    matrix.LAYOUTS,
    matrix.WAYS,
)


@pytest.mark.parametrize("chosen", [cells, representatives])
@pytest.mark.parametrize("axis", range(len(AXES)))
def test_each_value_of_each_axis_is_in_a_cell(axis: int, chosen: object) -> None:
    assert {astuple(cell)[axis] for cell in chosen()} == {*AXES[axis]}  # type: ignore[operator]


def test_what_is_no_cell_has_a_reason() -> None:
    for words in product(*AXES):
        cell = Cell(*words)
        assert bool(why_not(cell)) != (cell in cells())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.reason)
def test_each_rule_leaves_something_out(rule: matrix.Rule) -> None:
    assert any(rule.leaves_out(Cell(*words)) for words in product(*AXES))
    assert not any(rule.leaves_out(cell) for cell in cells())


def test_each_cell_has_an_end() -> None:
    for cell in cells():
        found = end(cell)
        assert found.within > 0
        re.compile(found.says)


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_each_row_of_the_ends_is_some_cells(number: int) -> None:
    firsts = {
        next(number for number, row in enumerate(ROWS) if row.of(cell))
        for cell in cells()
    }
    assert number in firsts


def test_the_ends_are_those_of_the_design() -> None:
    def status(name: str) -> int:
        return end(Cell(*name.split("-"))).status

    assert status("raise-script-running-srun-shared-cli") == 1
    assert status("sigterm-launcher-running-srun-shared-cli") == 143
    assert status("sigkill-script-running-hydra-shared-cli") == 137
    assert status("sigkill-scheduler-running-local-shared-cli") == 69
    assert status("sigkill-worker-running-srun-shared-cli") == 0
    assert end(Cell("sigkill", "worker", "running", "srun", "shared", "cli")).goes_on


def test_a_part_is_found_by_its_module_or_by_its_name() -> None:
    start = "python -P -m dask_runner.programs.start"
    started = Process("", 7, 1, 0, "python", f"{start} programs.agent 7", "S")
    forked = Process("", 8, 7, -1, "dask-agent", "python -P -m dask_runner -n 2", "S")

    assert plays(started, "agent")
    assert plays(forked, "agent")
    assert [one.rank for one in ranked([forked, started])] == [0, 0]


def test_a_process_that_has_ended_plays_no_part() -> None:
    ended = Process("", 7, 1, 0, "dask-agent", "", "Z")

    assert not plays(ended, "agent")
