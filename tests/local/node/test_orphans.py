"""Children that a rank's processes leave behind are ended, and reaped by anybody."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import signal, subprocess, sys
from dask_runner import linux
from dask_runner.node.orphans import TRACKER, end_orphans

if "ignored" in sys.argv:  # the kernel reaps, and waitpid(2) finds nobody
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
code = "import signal; print(flush=True); signal.pause()"
if "tracker" in sys.argv:
    code = f"from dask_runner import linux; linux.name_process('{TRACKER}'); {code}"
line = [sys.executable, "-c", code]
if "later tracker" in sys.argv:
    line.append("multiprocessing.resource_tracker")
children = [subprocess.Popen(line, stdout=subprocess.PIPE) for _ in range(3)]
for child in children:
    child.stdout.readline()
end_orphans(but=[children[0].pid])
print(linux.children() == [children[0].pid])
end_orphans()
print(linux.children() == [])
"""


@pytest.mark.parametrize("what", ["orphan", "tracker", "later tracker"])
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


SETTLES = """
import asyncio, os, subprocess, sys
from dask_runner import linux
from dask_runner.hub import messages as m
from dask_runner.node.child import Process
from dask_runner.node.events import Source
from dask_runner.node.launcher_child import ThisProcess

async def play():
    agent = Process(Source.agent, asyncio.Queue())
    await agent.start(os.environ, sys.argv[1])
    orphan = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    launched = ThisProcess()
    launched.end_children()
    launched.die_in(0)
    print(linux.children() == [agent.pid])
    await agent.stop(60.0, ask=m.Close(0))
    print(linux.children() == [])

asyncio.run(play())
"""


def test_a_rank_that_ends_leaves_what_another_of_its_process_waits_for(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SETTLES, tmp_path / "log"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")
