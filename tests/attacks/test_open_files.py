"""Another account holds many connections to Dask's ports, and says nothing."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from tests.attacks.stranger import attacking
from tests.programs import UNTIL_TOLD, script
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = pytest.mark.attacks

#: The usual soft limit, and connections that it has no numbers for.
SOFT = 1024
AT_THE_SCHEDULER = 3000
AT_THE_OTHERS = 1200

#: Connects until nobody answers any more.
STORM = """
import resource, socket, sys, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
for number, address in zip(sys.argv[1::2], sys.argv[2::2]):
    host, port = address.rpartition("/")[2].split(":")
    try:
        for _ in range(int(number)):
            held.append(socket.create_connection((host, int(port)), 5))
    except OSError:
        pass
print(len(held), flush=True)
time.sleep(600)
"""

VICTIM = (
    """
import os, time
from distributed import Client
client = Client()
(worker, *_), (nanny, *_) = (
    client.run(lambda: 1), client.run(lambda: 1, nanny=True)
)
print("at", client.scheduler.address, worker, nanny, flush=True)
"""
    + UNTIL_TOLD
    + """
for number in range(5):
    with Client(timeout="30s") as another:
        print("new", another.submit(abs, -number, pure=False, workers=worker).result())
print("nannies", len(client.run(os.getpid, nanny=True)))
client.restart()
print("again", client.submit(abs, -1).result())
"""
)


@pytest.mark.attack(
    "opens thousands of connections to the ports of scheduler, workers and "
    "nannies, and sends nothing",
    "nothing: every client, worker and nanny of yours still gets in, because "
    "our processes raise their limit of open files, also where `ulimit -n` says "
    "1024",
)
def test_silent_connections_keep_nobody_out(
    tmp_path: Path, require: Callable[..., AbstractContextManager[None]]
) -> None:
    with require("a hard limit of 8192 open files", "attacks"):
        if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * 4096:
            raise OSError("there are fewer")
    path = script(tmp_path, VICTIM)
    limited = ("sh", "-c", f'ulimit -Sn {SOFT} && exec "$0" "$@"', str(DASK_RUNNER))
    with Run((*limited, "-n", "2", str(path)), cwd=tmp_path) as run:
        run.wait_for("begun")
        at = next(line for line in run.stdout.splitlines() if line.startswith("at"))
        scheduler, *others = at.split()[1:]
        storm = [AT_THE_SCHEDULER, scheduler]
        for address in others:
            storm += [AT_THE_OTHERS, address]
        with attacking(STORM, *storm):
            (tmp_path / "go").touch()
            ended = run.wait()
    assert ended.status == 0, ended
    said = [f"new {number}" for number in range(5)]
    assert ended.stdout.splitlines()[2:] == [*said, "nannies 2", "again 1"], ended
    assert "Too many open files" not in ended.stderr
