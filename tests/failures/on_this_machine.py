"""A cell on this machine: local ranks, an mpiexec, or one rank."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ci import mpi
from tests.failures.cell import BY_MPI
from tests.failures.look import look
from tests.failures.parts import Process, numbered
from tests.failures.stages import JOB, Ended, program, variables
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from tests.failures.cell import Cell

FAMILIES = {"hydra": "mpich", "prrte": "openmpi"}

#: Files that may stay: Open MPI's own, Dask's commented defaults, core dumps.
_THEIRS = ("ompi.", "prterun.", "pmix", "prte.", ".config", "__pycache__", "core")


class OnThisMachine:
    """A job of ``dask-runner -n``, of an ``mpiexec``, or of one rank."""

    def __init__(self, cell: Cell) -> None:
        env: dict[str, str] = {}
        launch: list[str] = []
        if cell.launcher in BY_MPI:
            runtime = mpi.runtime(FAMILIES[cell.launcher])
            env, launch = runtime.environ({}), runtime.mpiexec(cell.ranks)
        self._handed = cell.launcher == "handed"
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
        found = [Process("", **one) for one in look(self._run.mark)]
        return numbered(found) if self._handed else found

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
