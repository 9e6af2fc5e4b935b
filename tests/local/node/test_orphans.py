"""Children that a rank's processes leave behind are ended, and reaped by anybody."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import signal, subprocess, sys
from dask_runner import linux
from dask_runner.node.orphans import end_orphans

if "ignored" in sys.argv:  # the kernel reaps, and waitpid(2) finds nobody
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
line = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()"]
if "tracker" in sys.argv:
    line.append("multiprocessing.resource_tracker")
children = [subprocess.Popen(line, stdout=subprocess.PIPE) for _ in range(3)]
for child in children:
    child.stdout.readline()
end_orphans(but=[children[0].pid])
print(linux.children() == [children[0].pid])
end_orphans()
print(linux.children() == [])
"""


@pytest.mark.parametrize("what", ["orphan", "tracker"])
@pytest.mark.parametrize("how", ["reaped", "ignored"])
def test_all_children_end_but_those_to_be_kept(what: str, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, what, how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")
