"""A cell on the Slurm cluster in containers."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from containers.commands import CommandTimeoutError
from tests.cluster.jobs import SIF, SINGLETONS
from tests.failures.cell import NODES
from tests.failures.ends import SLURM_GIVES_UP
from tests.failures.parts import Process
from tests.failures.stages import JOB, Ended, node_of, program, variables

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs
    from tests.failures.cell import Cell

LOOK = Path(__file__).with_name("look.py").read_text()

#: Seconds until a cell is given up.
GIVEN_UP = 100.0

#: Bytes of memory that a whole node may have while it has a limit.
NODES_MEMORY = 1200 << 20

#: Ways in that need MPI to work.
_BY_MPI = frozenset({"initialize", "daskmpi", "execute"})

#: Waits for a second, on the login node, and shows the file.
_HEAR = """\
for _ in {1..20}; do if [ -e "$1" ]; then exec cat "$1"; fi; sleep 0.05; done
exit 1"""

#: A job in squeue's list that is over, but for Slurm's own bookkeeping.
_COMPLETING = r"| user +CG "

#: Compiles sitecustomize.py as the image's own is, which is never compared with its
#: source; prints where that one is.
_COMPILE = """\
import py_compile, sitecustomize, sys
unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
ours = "job/sitecustomize.py"
py_compile.compile(ours, sys.argv[1], doraise=True, invalidation_mode=unchecked)
print(sitecustomize.__cached__)"""


class OnTheCluster:
    """A job of ``srun apptainer`` on two nodes in containers."""

    def __init__(self, cell: Cell, jobs: Jobs, image: str = SIF) -> None:
        self._cell = cell
        self._jobs = jobs
        self._mark = f"CELL={jobs.directory}/cell"
        self._struck = ""
        jobs.shell("mkdir", "cell", "job", "work")
        for path in JOB.glob("*.py"):
            jobs.cluster.write(f"{jobs.directory}/job/{path.name}", path.read_text())
        # A job that a lost node does not end by itself; and Ctrl-C at once.
        srun = ["srun", "--no-kill", "-X", "-N2", f"-n{cell.ranks}"]
        if cell.way in _BY_MPI:
            srun.append("--mpi=pmix")
        script = f"{jobs.directory}/job/script.py"
        words = program(cell, "python", "dask-runner", script)
        passed = {
            name: value
            for name, value in os.environ.items()
            if name == "APPTAINER_BIND"
        }
        found = variables(cell, jobs.directory)
        # Our image takes no PYTHONPATH of the host's, but one that is meant for it.
        passed["APPTAINERENV_PYTHONPATH"] = found["PYTHONPATH"]
        if found["CELL_GATE"]:
            binds = [passed.get("APPTAINER_BIND", ""), self._gate(image)]
            passed["APPTAINER_BIND"] = ",".join(filter(None, binds))
        self._job = jobs.start(
            *srun,
            "apptainer",
            "exec",
            image,
            *words,
            cwd=f"{jobs.directory}/work",
            timeout=GIVEN_UP + SLURM_GIVES_UP,
            env=found | passed,
        ).running

    def _gate(self, image: str) -> str:
        """Bind ours over what each Python of the image loads first: Debian's own."""
        ours = f"{self._jobs.directory}/job/gate.pyc"
        line = ["apptainer", "exec", image, "python", "-c", _COMPILE, ours]
        theirs = self._jobs.shell(*line).strip()
        return f"{ours}:{theirs}"

    @property
    def output(self) -> str:
        return self._job.stdout + self._job.stderr

    @property
    def over(self) -> bool:
        return not self._job.running

    def hear(self, name: str) -> str:
        line = ["bash", "-c", _HEAR, "", f"cell/{name}"]
        try:
            done = self._jobs.cluster.run(line, cwd=self._jobs.directory, timeout=30)
        except CommandTimeoutError:
            return ""  # a busy machine
        return "" if done.returncode else done.stdout or "{}"

    def tell(self, name: str) -> None:
        self._jobs.shell("touch", f"cell/{name}")

    def processes(self) -> list[Process]:
        return [one for node in self._alive() for one in self._on(node)]

    def _alive(self) -> list[str]:
        nodes = self._jobs.cluster.members()
        return [node for node in nodes if node not in {"login", self._struck}]

    def _on(self, node: str) -> list[Process]:
        line = ["python3", "-c", LOOK, self._mark]
        told = self._jobs.cluster.run(line, node=node, user="root", timeout=30)
        return [
            Process(node, **json.loads(text))
            for text in told.stdout.splitlines()
            if text
        ]

    def signal(self, process: Process, number: int) -> None:
        line = ["kill", f"-{number}", str(process.pid)]
        self._jobs.cluster.run(line, node=process.node, user="root", timeout=30)

    def signal_launcher(self, number: int) -> None:
        if number == signal.SIGTERM:
            self._jobs.shell("scancel", "--user=user")
        else:
            self._job.signal(number)

    def strike_node(self, name: str, cause: str) -> None:
        node = self._jobs.cluster.node(name)
        if cause == "memory":
            node.container.update(mem_limit=NODES_MEMORY, memswap_limit=NODES_MEMORY)
            return
        if cause in {"sigkill", "sigstop"}:
            self._struck = name
        {"sigkill": node.kill, "sigstop": node.freeze, "cut": node.cut}[cause]()

    def wait(self, seconds: float) -> Ended:
        deadline = time.monotonic() + seconds
        while not self.over and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = not self.over
        at = time.monotonic()
        while left := [one for one in self.processes() if one.state not in "ZX"]:
            at = time.monotonic()
            if at > deadline:
                break
            time.sleep(0.1)
        stays = [f"process {one.node} {one.pid} {one.words}" for one in left]
        self._mend()
        if not ended:
            stays += self._stays()
        status = None if self._job.running else self._job.wait().returncode
        return Ended(status, self._job.stdout, self._job.stderr, at, tuple(stays))

    def _mend(self) -> None:
        if self._cell.who in NODES:
            self._jobs.cluster.node(node_of(self._cell)).restore()
        if (self._cell.cause, self._cell.who) == ("memory", "script"):
            node = self._jobs.cluster.node("c1")
            # A limit that is set can be raised, and not removed.
            all_of_it = self._jobs.cluster.client.info()["MemTotal"]
            node.container.update(mem_limit=all_of_it, memswap_limit=all_of_it)

    def _stays(self) -> list[str]:
        # What a node's own power failure leaves on its disk is nobody's to remove; nor
        # is Apptainer's server of an image there, whose user Slurm has killed.
        struck = rf"^{self._struck}: (/|\d+ squashfuse_ll )"
        leaves = struck if self._struck else SINGLETONS
        leaves += _COMPLETING
        try:
            self._jobs.check_left(("cell", "job", "work"), leaves, "")
        except pytest.fail.Exception as found:
            return [str(found)]
        return []

    def discard(self) -> None:
        self._mend()  # the rest is the fixture's, which has made the directory
