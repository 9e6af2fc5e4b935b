"""What the programs of a rank agree on with Dask, and with Python."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.node.children import BEFORE
from dask_runner.programs import lifeline
from tests.programs import printed

if TYPE_CHECKING:
    from pathlib import Path


def test_the_agent_begins_with_the_variables_that_dask_sets_for_workers() -> None:
    import dask.config  # noqa: PLC0415
    import distributed  # noqa: F401, PLC0415  its defaults

    wanted: dict[str, Any] = dask.config.get("distributed.nanny.pre-spawn-environ")
    malloc = "MALLOC_TRIM_THRESHOLD_"
    assert BEFORE[malloc] == str(wanted[malloc])


@pytest.mark.parametrize(
    "module", ["dask_runner", "dask_runner.cli.commands", "dask_runner.node.rank"]
)
def test_a_thin_rank_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'distributed', 'dask', 'numpy', 'mpi4py', 'cryptography', 'rich'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert printed(code) == "[]"


def test_importing_the_package_does_nothing() -> None:
    code = (
        "import os, signal, sys, threading\n"
        "def state():\n"
        "    numbers = signal.valid_signals()\n"
        "    return [signal.getsignal(n) for n in numbers], dict(os.environ)\n"
        "before = state()\n"
        "import dask_runner\n"
        "assert before == state()\n"
        "dask_runner.Runner, dask_runner.initialize\n"
        "print('mpi4py' in sys.modules, threading.active_count())"
    )
    assert printed(code) == "False 1"


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
