"""Printing to a stderr that takes nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("close", ["2>&-", "2>/dev/full", "2>&1 | true"])
def test_a_stderr_that_takes_nothing_is_no_error(close: str) -> None:
    code = (
        "import time; time.sleep(0.5)\n"
        "from dask_runner.hub.report import say\n"
        "say('x'); say('y')\n"
        "import os; os._exit(0)"
    )
    done = subprocess.run(
        [
            "bash",
            "-c",
            f'"$0" -c "$1" {close}; echo "${{PIPESTATUS[0]}}"',
            sys.executable,
            code,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "0"
