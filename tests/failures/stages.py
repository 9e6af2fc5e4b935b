"""Where a cell is played: on this machine, or on the Slurm cluster in containers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from ci import mpi
from ci.commands import CommandTimeoutError
from tests.cluster.jobs import SIF, SINGLETONS
from tests.failures.ends import PATIENT, SILENCE, SLURM_GIVES_UP, TIMEOUT
from tests.failures.look import look
from tests.failures.matrix import BY_MPI, NODES, OF_A_SCRIPT
from tests.failures.parts import Process
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs
    from tests.failures.matrix import Cell

JOB = Path(__file__).with_name("job")
LOOK = Path(__file__).with_name("look.py").read_text()
FAMILIES = {"hydra": "mpich", "prrte": "openmpi"}

#: Seconds until a cell is given up.
GIVEN_UP = 100.0
#: Bytes of memory that a worker may have, and a whole node while it has a limit.
WORKERS_MEMORY = "400MB"
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

#: Files that may stay: Open MPI's own, Dask's commented defaults, core dumps.
_THEIRS = ("ompi.", "prterun.", "pmix", "prte.", ".config", "__pycache__", "core")


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of a job that is over.

    Attributes
    ----------
    status : int or None
        The launcher's as a shell sees it; None if it never ended.
    stdout, stderr : str
    at : float
        When its last process was gone, on the clock of `time.monotonic`.
    stays : tuple of str
        Processes and files that it has left behind.
    """

    status: int | None
    stdout: str
    stderr: str
    at: float
    stays: tuple[str, ...]


class Stage(Protocol):
    """One job that plays a cell."""

    @property
    def output(self) -> str:
        """What it printed so far, on both streams."""

    @property
    def over(self) -> bool:
        """Whether the launcher has ended."""

    def hear(self, name: str) -> str:
        """Wait a moment for a file in CELL; return its text, or "" without one."""

    def tell(self, name: str) -> None:
        """Make a file in CELL."""

    def processes(self) -> list[Process]:
        """Return the job's living processes."""

    def signal(self, process: Process, number: int) -> None:
        """Signal one of them."""

    def signal_launcher(self, number: int) -> None:
        """Signal the launcher, or let it be told to end."""

    def strike_node(self, name: str, cause: str) -> None:
        """Let something happen to a node."""

    def wait(self, seconds: float) -> Ended:
        """Wait until nothing of it is left, but not longer."""

    def discard(self) -> None:
        """End and remove what is left."""


def _held(cell: Cell) -> tuple[str, str]:
    """Return at what point Dask's servers wait, and which rank does at its start."""
    by_itself = cell.cause in OF_A_SCRIPT
    if by_itself or (cell.who, cell.when) == ("script", "closing"):
        return "", ""
    ranks = {"hub": 0, "top": cell.ranks - 1}
    if cell.way != "cli":
        ranks["script"] = cell.client_rank
    if cell.when == "before" and cell.who in ranks:
        return "", str(ranks[cell.who])
    return cell.when, ""


def variables(cell: Cell, base: str) -> dict[str, str]:
    """Return what a cell's processes find in their environment."""
    hold, gate = _held(cell)
    waits_in_vain = gate or (
        cell.when == "before" and cell.cause in OF_A_SCRIPT and cell.way != "cli"
    )
    found = {
        "CELL": f"{base}/cell",
        "CELL_NAME": cell.name,
        "CELL_HOLD": hold,
        "CELL_GATE": gate,
        "PYTHONPATH": f"{base}/job",
        "DASK_RUNNER__TIMEOUT": str(TIMEOUT if waits_in_vain else PATIENT),
        "DASK_RUNNER__LAYOUT": cell.layout,
        "DASK_RUNNER__SILENCE": str(SILENCE),
        "DASK_RUNNER__NTHREADS": "1",
        "DASK_RUNNER__DASHBOARD": "False",
        "DASK_DISTRIBUTED__WORKER__PRELOAD": "['hold']",
        "DASK_DISTRIBUTED__SCHEDULER__PRELOAD": "['hold']",
    }
    if (cell.cause, cell.who) == ("memory", "worker"):
        found["DASK_RUNNER__MEMORY_LIMIT"] = WORKERS_MEMORY
    return found


def program(cell: Cell, python: str, dask_runner: str, script: str) -> list[str]:
    """Return the command that each rank is, or that starts the ranks."""
    if cell.way != "cli":
        return [python, script]
    local = ["-n", str(cell.ranks)] if cell.launcher == "local" else []
    return [dask_runner, *local, script]


class OnThisMachine:
    """A job of ``dask-runner -n``, of an ``mpiexec``, or of one rank."""

    def __init__(self, cell: Cell) -> None:
        env: dict[str, str] = {}
        launch: list[str] = []
        if cell.launcher in BY_MPI:
            runtime = mpi.runtime(FAMILIES[cell.launcher])
            env, launch = runtime.environ({}), runtime.mpiexec(cell.ranks)
        self._base = Path(tempfile.mkdtemp(prefix="cell-"))
        for name in ("cell", "work"):
            (self._base / name).mkdir()
        shutil.copytree(JOB, self._base / "job")
        script = str(self._base / "job" / "script.py")
        self._run = Run(
            (*launch, *program(cell, sys.executable, str(DASK_RUNNER), script)),
            cwd=self._base / "work",
            env=env | variables(cell, str(self._base)),
        )

    @property
    def output(self) -> str:
        return self._run.stdout + self._run.stderr

    @property
    def over(self) -> bool:
        return self._run.process.poll() is not None

    def hear(self, name: str) -> str:
        path = self._base / "cell" / name
        if not path.exists():
            time.sleep(0.02)
            return ""
        return path.read_text() or "{}"

    def tell(self, name: str) -> None:
        (self._base / "cell" / name).touch()

    def processes(self) -> list[Process]:
        return [Process("", **one) for one in look(self._run.mark)]

    def signal(self, process: Process, number: int) -> None:
        os.kill(process.pid, number)

    def signal_launcher(self, number: int) -> None:
        self._run.signal(number)

    def strike_node(self, name: str, cause: str) -> None:
        raise NotImplementedError(f"{cause} of {name}: there is no node")

    def wait(self, seconds: float) -> Ended:
        deadline = time.monotonic() + seconds
        while not self.over or self._left():
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        at = time.monotonic()
        stays = [f"process {one.pid} {one.words}" for one in self._left()]
        for place in (self._run.tmp, self._run.home, self._base / "work"):
            stays += [
                f"file {path}"
                for path in place.iterdir()
                if not path.name.startswith(_THEIRS)
            ]
        code = self._run.process.poll()
        status = None if code is None else code if code >= 0 else 128 - code
        return Ended(status, self._run.stdout, self._run.stderr, at, tuple(stays))

    def _left(self) -> list[Process]:
        return [one for one in self.processes() if one.state not in "ZX"]

    def discard(self) -> None:
        self._run.discard()
        shutil.rmtree(self._base)


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


def node_of(cell: Cell) -> str:
    """Return the node that is struck: rank 0's, or the last rank's."""
    return "c1" if cell.who == "node0" or cell.cause == "memory" else "c2"
