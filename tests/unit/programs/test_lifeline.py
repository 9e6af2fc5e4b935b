"""What the programs of a rank agree on with Dask, and with Python."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from dask_runner.node.children import AGENT_VARIABLES
from dask_runner.programs import lifeline

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_agent_begins_with_the_variables_that_dask_sets_for_workers() -> None:
    import dask.config  # noqa: PLC0415
    import distributed  # noqa: F401, PLC0415  its defaults

    wanted: dict[str, Any] = dask.config.get("distributed.nanny.pre-spawn-environ")
    malloc = "MALLOC_TRIM_THRESHOLD_"
    assert AGENT_VARIABLES[malloc] == str(wanted[malloc])


def test_a_log_keeps_its_last_lines(tmp_path: Path) -> None:
    # Two processes write into one, as workers of a rank do.
    path = tmp_path / "worker.log"
    logs = [lifeline.LogFile(path, delay=True) for _ in range(2)]
    number = 2 * lifeline.LARGEST // 100
    for line in range(number):
        text = f"{line:07} {'x' * 100}"
        record = logging.LogRecord("any", logging.INFO, "", 0, text, None, None)
        logs[line % 2].handle(record)
    for log in logs:
        log.close()
    assert path.stat().st_size <= lifeline.LARGEST + 200
    first, *lines = path.read_text().splitlines()
    assert first == "[older lines are left out]"
    numbers = [int(line[:7]) for line in lines]
    assert numbers == list(range(numbers[0], number))


def test_a_log_that_cannot_be_written_is_no_word_on_the_users_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = lifeline.LogFile(tmp_path / "none" / "worker.log", delay=True)
    log.handle(logging.LogRecord("any", logging.INFO, "", 0, "text", None, None))
    assert capfd.readouterr().err == ""
