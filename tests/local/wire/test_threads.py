"""Work goes on where the system gives no thread any more."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.running import not_root

if TYPE_CHECKING:
    from tests.conftest import Require

CODE = """
import asyncio, resource, sys, threading
from dask_runner.wire import threads

def limit():
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))

def fail():
    raise OSError("it fails")

async def main():
    if "before" in sys.argv:
        limit()
    here = await threads.in_thread(threading.current_thread)
    limit()
    try:
        await threads.in_thread(fail)
    except OSError as error:
        return here is threading.main_thread(), str(error)

print(threads.run(main()))
"""


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_call_and_an_end_do_without_a_thread_that_there_is_not(
    require: Require, when: str
) -> None:
    done = subprocess.run(
        [*not_root(require), sys.executable, "-c", CODE, when],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"({when == 'before'}, 'it fails')\n", "")
