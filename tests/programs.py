"""Programs of users for the tests, and what a clean run of one is."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.running import Ended

#: Programs that are too long for a line in a test.
SCRIPTS = Path(__file__).parent / "local" / "scripts"

#: A clean run's lines on stderr.
LINES = 6

#: How a program begins that waits, or goes on, as the test needs it.
BEGIN = """
import os, signal, sys, time
from dask.distributed import Client
client = Client()
"""

#: A task that takes CPU time, and holds memory meanwhile.
BURN = """
def burn(seconds, mib=150):
    held = b"x" * (mib << 20)
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
"""

#: Waits for its end.
WAIT = """
print("begun", flush=True)
time.sleep(600)
"""

#: Goes on when there is a file "go" in its directory.
UNTIL_TOLD = """
print("begun", flush=True)
deadline = time.monotonic() + 60
while not os.path.exists("go"):
    assert time.monotonic() < deadline
    time.sleep(0.02)
"""

#: What programs that were written for dask-mpi do.
INITIALIZE = """\
import joblib
from distributed import Client
from dask_runner import initialize

initialize(nthreads=1, dashboard=False, worker_options={"resources": {"R": 1}})
client = Client()
print(client.gather(client.map(abs, range(-3, 0), resources={"R": 1})))
with joblib.parallel_config("dask"):
    print(joblib.Parallel()(joblib.delayed(abs)(x) for x in range(-3, 0)))
with client.get_executor() as executor:
    print(list(executor.map(abs, range(-3, 0))))
"""

#: Prints which worker computed; "nobody" if it was the program itself.
WHO = """\
import dask, sys
from distributed import Client, get_worker

@dask.delayed(pure=False)
def who():
    try:
        return get_worker().name
    except ValueError:
        return "nobody"

def here(_=None):
    return str(who().compute())

if __name__ == "__main__":
    with Client():
        print(here(), *sys.argv[1:])
"""


def script(directory: Path, text: str, name: str = "script.py") -> Path:
    path = directory / name
    path.write_text(textwrap.dedent(text))
    return path


def clean(ended: Ended) -> Ended:
    assert ended.status == 0, ended
    assert len(ended.stderr.splitlines()) <= LINES, ended
    assert "warning" not in ended.stderr.lower(), ended
    return ended


def printed(code: str, env: Mapping[str, str] | None = None) -> str:
    """Return what code prints in a Python of its own, which ends well and silently."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()
