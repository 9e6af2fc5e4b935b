"""The job of which something is killed, on the Slurm cluster in containers."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.failures import look
from tests.failures.kills.draw import NODES
from tests.failures.kills.timeline import Timeline
from tests.failures.kills.victims import victims
from tests.failures.parts import Process

if TYPE_CHECKING:
    from containers.commands import Running
    from tests.cluster.jobs import Jobs
    from tests.failures.kills.draw import Draw
    from tests.failures.kills.victims import Victim

LOOK = Path(look.__file__).read_text()

#: Seconds that the cluster waits for its ranks (``--timeout``): more than any other end
#: may take, so that who waits for it in vain is seen. And those after which it counts
#: somebody as lost (``--silence``).
TIMEOUT = 32.0
SILENCE = 3.0

#: Seconds after which the job, and what looks at it, are given up.
GIVEN_UP = 250.0
ANSWERS = 10.0
STEP = 0.002

#: Each worker has its share of them; a second or two in all.
TASKS = 60
TASK = 0.03

SCRIPT = """\
import time
from distributed import Client, as_completed

def task(x):
    time.sleep({task})
    return x

with Client() as client:
    futures = client.map(task, range({tasks}))
    print(sum(client.gather(futures)), flush=True)
"""

#: A job in squeue's list that is over, but for Slurm's own bookkeeping.
COMPLETING = r" user +CG "
#: Stays where Apptainer itself is killed that has started it, and is its own.
IMAGES_SERVER = r"\d+ squashfuse_ll "


class Looker:
    """Looks at a job's processes on one node, and signals them, within milliseconds."""

    def __init__(self, jobs: Jobs, node: str, mark: str) -> None:
        self.node = node
        self._answers = 0
        self._running: Running = jobs.cluster.start(
            ["python3", "-c", LOOK, mark, "stay"],
            node=node,
            user="root",
            timeout=GIVEN_UP,
            cwd="/",
            stdin=True,
        )

    def ask(self, line: str) -> None:
        """Ask it; the answer is awaited later."""
        self._running.write(f"{line}\n".encode())

    def answer(self) -> Any:
        """Return the answer."""
        deadline = time.monotonic() + ANSWERS
        while (text := self._running.stdout).count("\n") <= self._answers:
            if time.monotonic() > deadline or not self._running.running:
                raise TimeoutError(f"{self.node}: no answer\n{self._running.stderr}")
            time.sleep(STEP)
        self._answers += 1
        return json.loads(text.splitlines()[self._answers - 1])

    def close(self) -> None:
        """Let it go."""
        if self._running.running:
            self._running.close_stdin()
            self._running.wait()


class Stage:
    """A job of ``srun apptainer run`` on two nodes."""

    def __init__(self, draw: Draw, jobs: Jobs) -> None:
        self._draw = draw
        self._jobs = jobs
        mark = f"RANDOM_KILL={secrets.token_hex(8)}"
        nodes = [f"c{1 + number}" for number in range(NODES)]
        self._lookers = [Looker(jobs, node, mark) for node in nodes]
        tasks = TASKS * len(draw.workers)
        self.result = str(sum(range(tasks)))
        self._look()  # Python is loaded now
        self.job = jobs.srun(
            f"-N{NODES} --ntasks-per-node={draw.per_node}",
            *("--layout", draw.layout, "--nthreads", "1", "--no-dashboard"),
            *("--timeout", f"{TIMEOUT:g}", "--silence", f"{SILENCE:g}"),
            *draw.options,
            "-c",
            SCRIPT.format(task=TASK, tasks=tasks),
            timeout=GIVEN_UP,
            env=dict([mark.split("=")]),
        ).running
        self.timeline = Timeline(self.job)

    def _look(self) -> list[Process]:
        for looker in self._lookers:
            looker.ask("look")
        return [
            Process(looker.node, **one)
            for looker in self._lookers
            for one in looker.answer()
        ]

    def victims(self) -> list[Victim]:
        """Return whom there is to kill."""
        return victims(self._look(), self._draw)

    def strike(self, victim: Victim, number: int) -> bool:
        """Signal a process; return whether it was there."""
        process = victim.process
        looker = next(one for one in self._lookers if one.node == process.node)
        looker.ask(f"{process.pid} {number}")
        return bool(looker.answer())

    def left(self, leaves: str) -> str:
        """Wait a moment until the job has left nothing; return what stays."""
        try:
            self._jobs.check_left((), leaves, "")
        except pytest.fail.Exception as found:
            return str(found).strip()
        return ""

    def close(self) -> None:
        """Look no more."""
        for looker in self._lookers:
            looker.close()
