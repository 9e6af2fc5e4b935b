"""Ranks of one node that no launcher has started together, and where they meet.

The program is ``dask-runner``, or the one that images have in its place, compiled here.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from dask_runner.launch.detect import detect
from dask_runner.node import node_socket
from images.follower.header import header
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

    from tests.running import Ended

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "images" / "follower" / "dask-runner.c"

#: Seconds for all to arrive, where nothing may take them.
TIMEOUT = 100


def native(directory: Path) -> Path:
    """Compile the follower of the images, as ``build-follower.sh`` does.

    A copy runs the Python program of this environment where it is no follower.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc)")
    (directory / "follower.h").write_text(header())
    result = directory / "follower"
    defined = {
        "PYTHON": sys.executable,
        "PROGRAM": str(DASK_RUNNER),
    }
    subprocess.run(
        [
            *(compiler, "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"),
            *(f'-D{name}="{value}"' for name, value in defined.items()),
            *("-I", str(directory), "-o", str(result), str(SOURCE)),
        ],
        check=True,
    )
    return result


def catches(pid: int, number: signal.Signals) -> bool:
    """Say whether a process has a handler for a signal."""
    text = Path(f"/proc/{pid}/status").read_text()
    caught = text.partition("\nSigCgt:")[2].splitlines()[0]
    return bool(int(caught, 16) & 1 << (number - 1))


def has_loaded(pid: int, module: str) -> bool:
    """Say whether a Python has loaded a module that is a library."""
    return module in Path(f"/proc/{pid}/maps").read_text()


class Job:
    """The ranks of one launch.

    Parameters
    ----------
    directory : Path
        Where they work and meet.
    size : int
    program : Path
    """

    def __init__(
        self, directory: Path, size: int = 2, program: Path = DASK_RUNNER
    ) -> None:
        directory.chmod(0o700)
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        self.environ = {
            "DASKRUNNER_JOB_ID": self.name,
            "DASKRUNNER_SIZE": str(size),
            "DASKRUNNER_DIRECTORY": str(directory),
            "TMPDIR": str(directory),
        }
        self._directory = directory
        self._program = program
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rank(self, number: int, *args: str | int, before: tuple[str, ...] = ()) -> Run:
        """Start a rank; *before* is the command that runs its program."""
        return self._start({"DASKRUNNER_RANK": str(number)}, before, args)

    def _start(
        self,
        own: Mapping[str, str],
        before: tuple[str, ...],
        args: tuple[str | int, ...],
    ) -> Run:
        words = *before, str(self._program), "--timeout", TIMEOUT, *args
        environ = {**self.environ, **own}
        run = Run(tuple(map(str, words)), cwd=self._directory, env=environ)
        return self._stack.enter_context(run)

    def sockets(self, node: str = "") -> int:
        """Count the leader's sockets: where it listens, and what is connected there."""
        return Path("/proc/net/unix").read_text().count(f"{self.name}{node}")


class TwoNodes(Job):
    """A step of Slurm with two ranks on each of two nodes, all on this machine.

    The ranks of a node find their leader by the name of a socket. Here it is that of an
    mpiexec, whose variables they have as well; ``--launcher slurm`` says whose ranks
    they are.
    """

    NODES = ("a", "b")

    def __init__(self, directory: Path, program: Path = DASK_RUNNER) -> None:
        super().__init__(directory, 4, program)
        self.environ = {
            "HOME": str(directory),
            "TMPDIR": str(directory),
            "SLURM_JOB_ID": self.name,
            "SLURM_STEP_ID": "0",
            "SLURM_STEP_NUM_TASKS": "4",
            "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
            "SLURM_TASKS_PER_NODE": "2(x2)",
        }

    def rank(self, number: int, *args: str | int, before: tuple[str, ...] = ()) -> Run:
        """Start a rank on a node that has a name of its own."""
        node, local_rank = divmod(number, 2)
        name = self.NODES[node]
        own = {
            "SLURM_PROCID": str(number),
            "SLURM_NODEID": str(node),
            "SLURM_LOCALID": str(local_rank),
            "OMPI_COMM_WORLD_LOCAL_RANK": str(local_rank),
            "PMIX_NAMESPACE": f"{self.name}{name}",
            # What makes another agent: this machine has both.
            "DASK_NODE": name,
        }
        line = f'hostname {name} && exec "$@"'
        there = "unshare", "--uts", "sh", "-c", line, "sh", *before
        return self._start(own, there, ("--launcher", "slurm", *args))


class RunnerJob(Job):
    """Ranks of a runner in Python, which find their node's socket by their World."""

    CODE = """
import sys, time
from distributed import Client
from dask_runner import Runner
with Runner(timeout=100, nthreads=1) as runner, Client(runner) as client:
    print(client.submit(sum, [1, 2]).result(), flush=True)
    if sys.argv[1:] == ["stay"]:
        print("begun", flush=True)
        time.sleep(600)
"""

    def __init__(self, directory: Path, size: int = 2, code: str = CODE) -> None:
        super().__init__(directory, size)
        self._script = directory / "script.py"
        self._script.write_text(code)

    def rank(self, number: int, *args: str | int, before: tuple[str, ...] = ()) -> Run:
        """Start the script as a rank."""
        environ = {**self.environ, "DASKRUNNER_RANK": str(number)}
        words = *before, sys.executable, str(self._script), *map(str, args)
        run = Run(words, cwd=self._directory, env=environ)
        return self._stack.enter_context(run)

    @property
    def socket(self) -> str:
        """The name of the node's socket."""
        world = detect({**self.environ, "DASKRUNNER_RANK": "0"})
        assert world is not None
        return node_socket.name_of(world)


def ended(run: Run, status: int) -> Ended:
    """Wait for a rank's end, which does not take the time for all to arrive."""
    end = run.wait()
    assert end.status == status, end
    assert end.seconds < TIMEOUT, end
    return end
