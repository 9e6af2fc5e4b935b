"""The figure of a run."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from dask_runner.hub.figure import BLUE, figure

SVG = "{http://www.w3.org/2000/svg}"


def report(**other: Any) -> dict[str, Any]:
    return {
        "cluster": {"launcher": "slurm", "job": "7", "name": "lab"},
        "status": 0,
        "seconds": {"total": 90.0},
        "timeline": {
            "seconds": [10.0, 30.0, 60.0],
            "running": [0, 4, 1],
            "threads": [4, 4, 2],
            "workers": [2, 2, 1],
            "memory": [1 << 30, 3 << 30, 1 << 30],
        },
        "losses": [],
    } | other


def drawn(told: dict[str, Any]) -> ET.Element:
    return ET.fromstring(figure(told))  # noqa: S314  our own


def test_a_run_is_drawn_with_its_threads_memory_and_losses() -> None:
    loss = {"after": 45.0, "what": "worker", "name": "1", "node": "c2", "cause": "<&>"}
    found = drawn(report(losses=[loss]))
    words = [one.text for one in found.iter(f"{SVG}text")]
    assert "slurm job 7: 1 min 30 s, status 0" in words
    assert {"4", "3.0 GiB", "30 s", "1 min 30 s"} <= set(words)
    titles = [one.text for one in found.iter(f"{SVG}title")]
    assert titles == ["worker 1 on c2: <&>"] * 2  # in both panels
    busy = next(one for one in found.iter(f"{SVG}polygon") if one.get("fill") == BLUE)
    first, *_, last = (
        float(point.split(",")[0]) for point in busy.attrib["points"].split()
    )
    assert 160 < first < 180  # 10 s of 90
    assert last == 880  # to the end


def test_a_run_of_which_nothing_is_known_is_a_figure() -> None:
    nothing: dict[str, list[float]] = {key: [] for key in report()["timeline"]}
    found = drawn(report(timeline=nothing, seconds={"total": 0.0}, status=None))
    assert "running" in "".join(found.itertext())


def test_a_run_of_days_has_few_ticks() -> None:
    found = drawn(report(seconds={"total": 40 * 86400.0}))
    words = [one.text for one in found.iter(f"{SVG}text")]
    assert 4 < len([one for one in words if one and one.endswith(" d")]) <= 7
