"""A figure of a run, as SVG: threads at work over time, memory, and what was lost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from dask_runner.hub.durations import in_words
from dask_runner.hub.end_block import size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Points = Sequence[tuple[float, float]]

WIDTH, LEFT, RIGHT = 900, 80, 20
#: Top of the first panel, height of each, and what is between them.
TOP, HEIGHT, GAP = 70, 150, 50
BLUE, GREEN, RED, GREY, BLACK = "#2b6cb0", "#2f855a", "#c53030", "#a0aec0", "#1a202c"
#: Steps between ticks, of time and of numbers, that people like.
TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
TICKS = 6


def figure(report: Mapping[str, Any]) -> str:
    """Return the figure of a run.

    Parameters
    ----------
    report : mapping
        What :func:`dask_runner.hub.run_report.report` returns.
    """
    total = 2 * TOP + 2 * HEIGHT + GAP - 20
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {total}",
            "font-family": "Helvetica, Arial, sans-serif",
            "font-size": "12",
            "fill": BLACK,
        },
    )
    _add(svg, "rect", width=WIDTH, height=total, fill="white")
    _text(svg, LEFT, 28, _title(report), size=16, weight="bold")
    line, end = report["timeline"], max(report["seconds"]["total"] or 0.0, 1.0)
    times = line["seconds"]
    threads = _Panel(svg, TOP, end, max([*line["threads"], 1]), _whole)
    threads.heading("threads of workers", (("at work", BLUE), ("there", BLACK)))
    threads.area(_steps(times, line["running"], end), BLUE)
    threads.line(_steps(times, line["threads"], end), BLACK)
    memory = _Panel(svg, TOP + HEIGHT + GAP, end, max([*line["memory"], 1]), size)
    memory.heading("memory of workers", ())
    memory.area(_steps(times, line["memory"], end), GREEN)
    memory.times()
    for panel in (threads, memory):
        for loss in report["losses"]:
            name = f"{loss['what']} {loss['name']} on {loss['node']}: {loss['cause']}"
            panel.loss(loss["after"], name)
    if report["losses"]:
        threads.legend(2, "something was lost", RED)
    ET.indent(svg)
    return f"{ET.tostring(svg, encoding='unicode')}\n"


def _title(report: Mapping[str, Any]) -> str:
    cluster, status = report["cluster"], report["status"]
    job = f"job {cluster['job']}" if cluster["job"] else cluster["name"] or ""
    end = "running" if status is None else f"status {status}"
    seconds = in_words(report["seconds"]["total"] or 0.0)
    return f"{cluster['launcher']} {job}: {seconds}, {end}"


class _Panel:
    """One diagram over the time of the run, up to *most*."""

    def __init__(
        self,
        svg: ET.Element,
        top: float,
        end: float,
        most: float,
        words: Callable[[float], str],
    ) -> None:
        self._svg, self._top, self._end = svg, top, end
        self._most = most * 1.05
        base = top + HEIGHT
        for part in (0.0, 0.5, 1.0):
            y = self._y(part * most)
            colour = GREY if part else BLACK
            self._rule(LEFT, y, WIDTH - RIGHT, y, colour, dashed=bool(part))
            _text(svg, LEFT - 8, y + 4, words(part * most), anchor="end")
        self._rule(LEFT, top, LEFT, base, BLACK)

    def heading(self, text: str, legends: Sequence[tuple[str, str]]) -> None:
        _text(self._svg, LEFT, self._top - 10, text, weight="bold")
        for place, (words, colour) in enumerate(legends):
            self.legend(place, words, colour)

    def legend(self, place: int, words: str, colour: str) -> None:
        x = LEFT + 180 + 110 * place
        _add(self._svg, "rect", x=x, y=self._top - 18, width=10, height=8, fill=colour)
        _text(self._svg, x + 15, self._top - 10, words)

    def line(self, points: Points, colour: str) -> None:
        drawn = {"fill": "none", "stroke": colour, "stroke-width": "1.2"}
        _add(self._svg, "polyline", points=self._placed(points), **drawn)

    def area(self, points: Points, colour: str) -> None:
        if points:
            closed = [(points[0][0], 0.0), *points, (points[-1][0], 0.0)]
            drawn = {"fill": colour, "fill-opacity": "0.55", "stroke": "none"}
            _add(self._svg, "polygon", points=self._placed(closed), **drawn)

    def loss(self, after: float, name: str) -> None:
        x = self._x(after)
        rule = self._rule(x, self._top, x, self._top + HEIGHT, RED, dashed=True)
        ET.SubElement(rule, "title").text = name

    def times(self) -> None:
        """Write the times below."""
        step = next((one for one in TIMES if self._end / one <= TICKS), 0)
        step = step or 86400 * math.ceil(self._end / 86400 / TICKS)
        for number in range(int(self._end // step) + 1):
            x, base = self._x(number * step), self._top + HEIGHT
            self._rule(x, base, x, base + 5, BLACK)
            words = in_words(number * step) if number else "0"
            _text(self._svg, x, base + 20, words, anchor="middle")

    def _x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(seconds / self._end, 1.0)

    def _y(self, value: float) -> float:
        return self._top + HEIGHT * (1 - value / self._most)

    def _placed(self, points: Points) -> str:
        return " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)

    def _rule(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        colour: str,
        *,
        dashed: bool = False,
    ) -> ET.Element:
        dashes = {"stroke-dasharray": "4 3"} if dashed else {}
        ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        return _add(self._svg, "line", stroke=colour, **ends, **dashes)


def _steps(
    times: Sequence[float], values: Sequence[float], end: float
) -> list[tuple[float, float]]:
    """Return points between which a value stays as it was."""
    points: list[tuple[float, float]] = []
    for number, (time, value) in enumerate(zip(times, values, strict=True)):
        until = times[number + 1] if number + 1 < len(times) else end
        points += [(time, value), (max(until, time), value)]
    return points


def _whole(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.1f}"


def _text(
    svg: ET.Element,
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    weight: str = "normal",
    anchor: str = "start",
) -> None:
    style = {"font-size": size, "font-weight": weight, "text-anchor": anchor}
    _add(svg, "text", x=x, y=y, **style).text = words


def _add(parent: ET.Element, tag: str, **attributes: object) -> ET.Element:
    words = {
        name: f"{value:.1f}" if isinstance(value, float) else str(value)
        for name, value in attributes.items()
    }
    return ET.SubElement(parent, tag, words)
