"""The command line as a real process, and what it may not leave behind."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

DASK_RUNNER = Path(sys.executable).with_name("dask-runner")

# Each process of a run inherits it, however deep and however orphaned.
MARK = "PYTEST_DASK_RUNNER_RUN"

# Nothing else of the caller's environment: not its launcher, not its settings.
KEPT = ("PATH", "LANG", "LC_ALL", "TZ")

# What a run has started goes with it; a busy machine takes a moment over that.
GONE_SECONDS = 5.0

# Processes that keep the command line of the one that has forked them.
FORKS = tuple(
    f"dask-{part}"
    for part in (
        *("agent", "carrier", "scheduler", "client"),
        *("forkserver", "tracker", "worker"),
    )
)

# Looks in a row that find no process of a run.
LOOKS = 3

# A process in the kernel's hands may take a moment to die.
KILL_SECONDS = 10

# Until a run, or words of it, are given up; no claim, and long on a busy machine.
GIVEN_UP_SECONDS = 120
WORDS_SECONDS = 60

OURS = re.compile(r"dask-runner: .*")


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that ended.

    Attributes
    ----------
    args : tuple of str
    status : int
        As a shell sees it: 128 + number after a signal.
    stdout, stderr : str
    seconds : float
        From its start to its end.
    """

    args: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"{' '.join(self.args)}\n"
            f"status {self.status} after {self.seconds:.1f} s\n"
            f"--- stdout\n{self.stdout}--- stderr\n{self.stderr}"
        )


class Run:
    """A run of a command in an environment of its own.

    Parameters
    ----------
    args : tuple of str
        The command and its arguments.
    cwd : Path, optional
        Where it starts; default a directory of its own, :attr:`cwd`, in which
        it may leave nothing.
    env : mapping of str to str, optional
        Variables beside the few that every run has.
    stdin : str, optional
        What it reads; default end-of-file.
    timeout : float
        Seconds until :meth:`wait` gives it up.
    """

    def __init__(
        self,
        args: tuple[str, ...],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = GIVEN_UP_SECONDS,
    ) -> None:
        # Not in pytest's tmp_path: a path of a UNIX socket has 107 bytes at most.
        self.directory = Path(tempfile.mkdtemp(prefix="run-"))
        for name in ("home", "tmp", "work"):
            (self.directory / name).mkdir()
        self.args = args
        self.cwd = cwd or self.directory / "work"
        self.tmp = self.directory / "tmp"
        self.home = self.directory / "home"
        self.timeout = timeout
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        environ = {name: os.environ[name] for name in KEPT if name in os.environ}
        environ |= {"HOME": str(self.home), "TMPDIR": str(self.tmp)}
        environ |= dict([self.mark.split("=")]) | dict(env or {})
        given = self.directory / "stdin"
        given.write_text(stdin or "")
        # Files, not pipes: whoever outlives the run would hold a pipe open.
        with (
            given.open() as read,
            (self.directory / "stdout").open("w") as out,
            (self.directory / "stderr").open("w") as err,
        ):
            self._began = time.monotonic()
            self.process = subprocess.Popen(
                args,
                cwd=self.cwd,
                env=environ,
                stdin=read,
                stdout=out,
                stderr=err,
                # Ctrl-C at pytest is not for it; the test ends it by its mark.
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return (self.directory / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it complained about so far."""
        return (self.directory / "stderr").read_text(errors="replace")

    @property
    def pids(self) -> dict[int, str]:
        """Its living processes, however far down, with their command lines."""
        return {
            int(entry.name): _words(entry / "cmdline")
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and self.mark in _words(entry / "environ")
        }

    @property
    def tops(self) -> dict[int, str]:
        """Those of :attr:`pids` that are no forks of a rank's agent, nor it itself."""
        forks = {pid for name in FORKS for pid in self.named(name)}
        return {pid: words for pid, words in self.pids.items() if pid not in forks}

    def named(self, name: str) -> list[int]:
        """Return its living processes of a name, as ``ps -o comm`` shows it."""
        return [pid for pid in self.pids if _words(Path(f"/proc/{pid}/comm")) == name]

    def signal(self, number: int) -> None:
        """Signal the process that was started, as ``kill`` does."""
        self.process.send_signal(number)

    def wait_for(self, text: str, timeout: float = WORDS_SECONDS) -> None:
        """Wait until it has printed a text, on stdout or stderr."""
        deadline = time.monotonic() + timeout
        while text not in self.stdout and text not in self.stderr:
            over = self.process.poll() is not None
            if over and (text in self.stdout or text in self.stderr):
                return
            if over or time.monotonic() > deadline:
                pytest.fail(f"{text!r} not printed within {timeout} s:\n{self._now()}")
            time.sleep(0.02)

    def wait(self, *, stray: str = "", makes: tuple[str, ...] = ()) -> Ended:
        """Wait for its end, and check that it leaves nothing behind.

        Parameters
        ----------
        stray : str
            Pattern of lines that may be on stderr beside ours; ``".*"`` for any.
        makes : tuple of str
            Names that it may leave in its own working directory.
        """
        try:
            self.process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            running = "\n".join(f"  {pid} {name}" for pid, name in self.pids.items())
            self._kill()
            pytest.fail(f"still running:\n{running}\n{self._now()}")
        ended = self._now()
        self._check_processes(ended)
        self._check_files(ended, makes)
        allowed = re.compile(stray) if stray else OURS
        for line in ended.stderr.splitlines():
            if not OURS.fullmatch(line) and not allowed.fullmatch(line):
                pytest.fail(f"not ours on stderr: {line!r}\n{ended}")
        return ended

    def discard(self) -> None:
        """End what still runs, and remove its directory."""
        self._kill()
        shutil.rmtree(self.directory)

    def _now(self) -> Ended:
        code = self.process.poll()
        status = -1 if code is None else code if code >= 0 else 128 - code
        seconds = time.monotonic() - self._began
        return Ended(self.args, status, self.stdout, self.stderr, seconds)

    def _check_processes(self, ended: Ended) -> None:
        deadline = time.monotonic() + GONE_SECONDS
        # A process that becomes another program (execve) has for a moment no
        # environment to be known by: one look that finds nothing is not enough.
        empty_looks = 0
        while empty_looks < LOOKS:
            left = self.pids
            empty_looks = 0 if left else empty_looks + 1
            if left and time.monotonic() > deadline:
                self._kill()
                pytest.fail(f"processes outlive the run: {left}\n{ended}")
            time.sleep(0.02)

    def _check_files(self, ended: Ended, makes: tuple[str, ...]) -> None:
        # Dask writes commented copies of its defaults into every new home.
        left = [*self.tmp.iterdir(), *self.home.iterdir()]
        left = [path for path in left if path != self.home / ".config"]
        own = self.directory / "work"
        kept = {"__pycache__", *makes}
        left += [path for path in own.iterdir() if path.name not in kept]
        if left:
            pytest.fail(f"files outlive the run: {left}\n{ended}")

    def _kill(self) -> None:
        deadline = time.monotonic() + KILL_SECONDS
        while (left := self.pids) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        # It has no mark yet if it was not given the time to begin.
        self.process.kill()
        self.process.wait(KILL_SECONDS)


class DaskRunner:
    """``dask-runner`` as a real process; see :class:`Run`."""

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def start(self, *args: str | Path, **how: Any) -> Run:
        """Start ``dask-runner ARGS``; *how* is as for Run."""
        run = Run((str(DASK_RUNNER), *map(str, args)), **how)
        self._runs.append(run)
        return run

    def __call__(
        self,
        *args: str | Path,
        stray: str = "",
        makes: tuple[str, ...] = (),
        **how: Any,
    ) -> Ended:
        """Run ``dask-runner ARGS`` to its end; fail on anything it leaves behind.

        *stray* and *makes* are as for Run.wait, *how* as for Run.
        """
        return self.start(*args, **how).wait(stray=stray, makes=makes)

    def discard(self) -> None:
        """End what still runs."""
        with contextlib.ExitStack() as stack:
            for run in self._runs:
                stack.callback(run.discard)


def _words(path: Path) -> str:
    try:
        return (
            path.read_bytes().replace(b"\0", b" ").decode(errors="replace").rstrip("\n")
        )
    except (PermissionError, ProcessLookupError, FileNotFoundError):
        return ""  # another user's, or gone meanwhile


def not_root(require: Any) -> tuple[str, ...]:
    """Return the command that makes a program one of another account.

    It may read what this one may, but has limits: root has none of processes. Another
    process of the tests has another account: processes of one count together.
    """
    rights = "+dac_read_search,+dac_override"
    user = str(20_000 + os.getpid() % 40_000)
    become = (
        *("setpriv", "--reuid", user, "--regid", user, "--clear-groups"),
        *("--inh-caps", rights, "--ambient-caps", rights, "--bounding-set", rights),
    )
    with require("leave to become another account", "local"):
        subprocess.run((*become, "true"), check=True, capture_output=True)
    return become
