"""What is printed is written line by line."""

from __future__ import annotations

import io
import sys

import pytest

from dask_runner.programs.by_lines import print_by_lines


def test_a_line_is_written_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    print_by_lines()

    for text in ("step 1", "\n", "half"):  # as print() does
        sys.stdout.write(text)
    assert written.getvalue() == b"step 1\n"


@pytest.mark.parametrize("other", [None, io.StringIO()])
def test_another_stdout_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, other: object
) -> None:
    monkeypatch.setattr(sys, "stdout", other)
    print_by_lines()
    assert sys.stdout is other
