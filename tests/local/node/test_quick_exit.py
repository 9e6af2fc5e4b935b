"""The end of a process, without taking Python apart."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import atexit, os, sys
from dask_runner.node.quick_exit import quick_exit

class Last:
    def __del__(self):
        os.write(1, b"taken apart")

last = Last()
atexit.register(print, "registered")
print("said", end=" ")
{then}
quick_exit({status})
"""


def ends(then: str = "", status: int = 3) -> subprocess.CompletedProcess[str]:
    code = CODE.format(then=then, status=status)
    line = [sys.executable, "-c", code]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("status", [0, 3])
def test_all_is_said_and_done_before(status: int) -> None:
    done = ends(status=status)
    assert (done.returncode, done.stdout, done.stderr) == (
        status,
        "said registered\n",
        "",
    )


def test_a_stream_that_is_closed_is_no_trouble() -> None:
    done = ends("sys.stdout = None; os.close(2); sys.stderr = None")
    assert done.returncode == 3


def test_what_cannot_be_written_is_told_as_ever() -> None:
    done = ends("sys.stdout = open('/dev/full', 'w'); print('lost')")
    assert done.returncode == 120, done  # Python's own status of that
    assert "No space left on device" in done.stderr
