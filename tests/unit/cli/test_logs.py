"""Whose logs are meant, and how their lines are shown."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from dask_runner.cli.logs import Printer, split
from dask_runner.errors import UsageError
from dask_runner.hub.requests import LogText

if TYPE_CHECKING:
    from pathlib import Path


class Screen(io.StringIO):
    """Output that a terminal shows."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ((), (None, "")),
        (("lab",), ("lab", "")),
        (("scheduler",), (None, "scheduler")),
        (("agent@c1",), (None, "agent@c1")),
        (("2-1",), (None, "2-1")),
        (("lab", "2-1"), ("lab", "2-1")),
        (("labb", "2-1"), ("labb", "2-1")),
    ],
)
def test_a_first_word_is_a_name_if_a_cluster_has_it(
    tmp_path: Path, words: tuple[str, ...], meant: tuple[str | None, str]
) -> None:
    (tmp_path / ".dask-runner").mkdir()
    (tmp_path / ".dask-runner" / "cluster-lab.json").touch()

    assert split(words, {"HOME": str(tmp_path)}) == meant


def test_more_words_are_an_error() -> None:
    with pytest.raises(UsageError, match="3 words: lab 0 1"):
        split(("lab", "0", "1"), {})


def test_lines_of_several_processes_have_their_names() -> None:
    out = io.StringIO()
    Printer(out, labels=True).show(LogText("2-1", "one\n\ntwo\n"))

    assert out.getvalue() == "2-1 | one\n2-1 | \n2-1 | two\n"


def test_a_part_of_a_line_is_a_line() -> None:
    out = io.StringIO()
    printer = Printer(out, labels=False)
    printer.show(LogText("0", "one"))
    printer.show(LogText("0", "two\n"))

    assert out.getvalue() == "one\ntwo\n"


def test_a_terminal_gets_no_character_that_it_obeys() -> None:
    text = LogText("0", "\x1b]0;title\x07red\x1b[31m\ta\r\N{RIGHT-TO-LEFT OVERRIDE}b\n")
    screen, file = Screen(), io.StringIO()
    Printer(screen, labels=False).show(text)
    Printer(file, labels=False).show(text)

    shown = screen.getvalue()
    assert shown.removesuffix("\n").isprintable()
    assert "\\x1b]0;title\\x07red\\x1b[31m" in shown
    assert "\\r\\u202eb" in shown
    assert file.getvalue() == text.text
