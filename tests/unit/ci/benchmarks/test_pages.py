"""The tables of the pages say what was measured, and nothing where it was not."""

from __future__ import annotations

from typing import Any

import pytest

from ci.benchmarks import pages


def run(name: str, size: int, ready: float | None, shape: str = "ranks") -> Any:
    return {
        "name": name,
        "shape": shape,
        "size": size,
        "workers": size,
        "ready": ready,
        "closing": 0.5,
        "stderr": 5,
        "memory": None,
        "moved": {},
    }


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        *(run("dask-runner", 4, seconds) for seconds in (3.0, 1.0, 1.5)),
        run("dask-runner", 32, 2.0),
        run("SLURMRunner", 4, 2.0),
        run("SLURMRunner", 32, None),
        run("floor: container", 4, 0.25),
        run("dask-runner", 8, 9.0, "one task a node"),
    ]
    monkeypatch.setattr(pages, "kept", lambda: {"runs": runs})


def test_a_cell_is_the_median_and_empty_where_a_run_was_not_ready() -> None:
    assert pages.ready().splitlines() == [
        "| ranks | 4 | 32 |",
        "| --- | ---: | ---: |",
        "| dask-runner | 1.5 | 2.0 |",
        "| SLURMRunner | 2.0 |  |",
        "| floor: container | 0.2 |  |",
    ]


def test_readme_has_no_floors() -> None:
    assert "floor" not in pages.ready_of_few()


def test_one_run_compares_programs_of_32_ranks() -> None:
    assert pages.one_run().splitlines()[:3] == [
        "| with 32 ranks | dask-runner | SLURMRunner |",
        "| --- | ---: | ---: |",
        "| seconds to ready | 2.0 |  |",
    ]


def test_what_was_not_measured_is_said_so() -> None:
    assert "not measured" in pages.reached()
