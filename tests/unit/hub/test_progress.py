"""When a log gets a line about the tasks, and what a terminal shows."""

from __future__ import annotations

from dataclasses import replace

from dask_runner.hub.progress import Progress
from dask_runner.hub.report import Reporter
from tests.reports import WORK


class Prints(Reporter):
    """Keeps what would have been printed."""

    def __init__(self) -> None:
        super().__init__(quiet=False)
        self.notes: list[str] = []
        self.bars: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def bar(self, line: str) -> None:
        self.bars.append(line)


def play(seconds: int, rate: float, known: int = 1000) -> list[tuple[int, str]]:
    """Return the lines of a log, where so many tasks a second are done."""
    prints = Prints()
    progress = Progress(prints, terminal=False)
    lines = []
    for second in range(seconds):
        done = min(int(second * rate), known)
        progress.moves(replace(WORK, done=done, erred=0, known=known), second)
        lines += [(second, line) for line in prints.notes]
        prints.notes.clear()
    return lines


def test_a_short_run_has_no_line() -> None:
    assert play(30, 100) == []


def test_a_line_comes_every_half_minute_and_says_how_far_it_is() -> None:
    lines = play(100, 1)
    assert [second for second, _ in lines] == [30, 60, 90]
    assert lines[0][1] == "3%: 30 of 1,000 tasks; 2 workers, 900 B"


def test_a_tenth_more_is_worth_a_line_sooner() -> None:
    assert [second for second, _ in play(60, 11)] == [30, 40, 50]


def test_nothing_is_said_while_nothing_is_done() -> None:
    assert len(play(1000, 30)) < 3
    assert play(1000, 0) == []


def test_the_lines_of_a_long_run_become_fewer() -> None:
    day = [second for second, _ in play(86400, 0.01)]
    assert len(day) < 400
    assert day[-1] - day[-2] > 1000


def test_a_terminal_has_a_bar_while_there_are_tasks() -> None:
    prints = Prints()
    progress = Progress(prints, terminal=True)
    progress.moves(replace(WORK, done=6, erred=0, known=12), 1.0)
    progress.moves(replace(WORK, done=11, erred=1, known=12), 2.0)
    assert prints.bars == [
        "━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 50%: 6 of 12 tasks; 2 workers, 900 B",
        "",
    ]
    assert prints.notes == []
