"""The log of a process keeps to a size, and says nothing to the user."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dask_runner.programs.log import LARGEST_LOG, LogFile

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_log_keeps_its_last_lines(tmp_path: Path) -> None:
    # Two processes write into one, as workers of a rank do.
    path = tmp_path / "worker.log"
    logs = [LogFile(path, delay=True) for _ in range(2)]
    number = 2 * LARGEST_LOG // 100
    for line in range(number):
        text = f"{line:07} {'x' * 100}"
        record = logging.LogRecord("any", logging.INFO, "", 0, text, None, None)
        logs[line % 2].handle(record)
    for log in logs:
        log.close()
    assert path.stat().st_size <= LARGEST_LOG + 200
    first, *lines = path.read_text().splitlines()
    assert first == "[older lines are left out]"
    numbers = [int(line[:7]) for line in lines]
    assert numbers == list(range(numbers[0], number))


def test_a_log_that_is_kept_drops_nothing_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask_runner.programs.log.LARGEST_KEPT_LOG", LARGEST_LOG + 999)
    kept, path = tmp_path / "kept.log", tmp_path / "worker.log"
    kept.touch()
    path.symlink_to(kept)
    log = LogFile(path, delay=True)
    number = 2 * LARGEST_LOG // 100
    for line in range(number):
        text = f"{line:07} {'x' * 100}"
        log.handle(logging.LogRecord("any", logging.INFO, "", 0, text, None, None))
    log.close()
    numbers = [int(line[:7]) for line in kept.read_text().splitlines()]
    assert numbers == list(range(len(numbers)))
    assert 0 < kept.stat().st_size - LARGEST_LOG < 2000


def test_a_log_that_cannot_be_written_is_no_word_on_the_users_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = LogFile(tmp_path / "none" / "worker.log", delay=True)
    log.handle(logging.LogRecord("any", logging.INFO, "", 0, "text", None, None))
    assert capfd.readouterr().err == ""
