"""Jobs of an ordinary user on the Slurm cluster, and what they may not leave."""

import re
import shlex
import time
from typing import Any

import pytest

from ci.slurm.cluster import HOME, Cluster
from containers.commands import Completed, Running
from tests.running import OURS
from tests.waiting import until

SIF = "/images/dask-runner.sif"

# A clean run says no more than this.
MOST_LINES = 6

# For processes and Slurm's bookkeeping after srun has returned, on a busy machine.
GONE_SECONDS = 5.0

# Until a job, or words of it, are given up; no claim, and long on a busy machine.
GIVEN_UP_SECONDS = 180
WORDS_SECONDS = 120

# What looks at a node: its user's processes, and the files that all can make.
PROCESSES = "ps -u user -o pid=,comm=,args="
FILES = "find /tmp /var/tmp /dev/shm -mindepth 1 -maxdepth 1"

# Open MPI's own, after an `srun --mpi=none` of any program with MPI.
SINGLETONS = r"/ompi\.|/sm_segment\."

# What srun says itself when a task's status is not 0, or when the job before has
# not left its nodes yet.
SRUN = re.compile(
    r"srun: job \d+ (queued and waiting for|has been allocated) resources|"
    r"srun: error: \S+: tasks? \S+: (Exited with exit code \d+|Killed|Terminated)"
    r"|srun: (Terminating|Force Terminated) StepId=\S+"
)

# What Apptainer says where its own server of the image ends by an abort in place of a
# farewell: seen once in some hundred jobs, on a busy machine. And where one of its
# processes is killed while it makes the container: its status is 255 then. It colours
# a word, and sets the colour back on the next line, which may be anybody's.
APPTAINER = re.compile(
    r"INFO: +Cleanup error: while stopping driver for \S+: squashfuse_ll exited: "
    r"fuse: reading device: Software caused connection abort"
    r"|(\x1b\[\d+m)?FATAL: +container creation failed: .*"
    r"|(\x1b\[\d+m)?ERROR *: Error while waiting event for user namespace mappings: .*"
)


COLOUR = re.compile(r"^\x1b\[0m", re.MULTILINE)


def said(stderr: str) -> list[str]:
    """Return the lines of a job's stderr, without Apptainer's change of colour."""
    return COLOUR.sub("", stderr).splitlines()


class Job:
    """A command on the login node, in a directory of its own.

    Parameters
    ----------
    jobs : Jobs
        Where it runs.
    running : Running
        The command.
    """

    def __init__(self, jobs: "Jobs", running: Running) -> None:
        self._jobs = jobs
        self.running = running

    def wait_for(self, text: str, timeout: float = WORDS_SECONDS) -> None:
        """Wait until it has printed a text."""
        self.running.wait_for(text, timeout)

    def signal(self, number: int) -> None:
        """Signal it, as from another terminal."""
        self.running.signal(number)

    def wait(
        self, *, stray: str = "", makes: tuple[str, ...] = (), leaves: str = ""
    ) -> Completed:
        """Wait for its end, and check that it leaves nothing behind.

        Parameters
        ----------
        stray : str
            Pattern of lines that may be on stderr beside ours and those that srun
            prints when a task fails; ``".*"`` for any.
        makes : tuple of str
            Names that it may leave in its directory.
        leaves : str
            Pattern of what may stay on the nodes because somebody else leaves it.
        """
        done = self.running.wait()
        self._jobs.check_left(makes, leaves, told(done))
        allowed = re.compile(stray) if stray else SRUN
        for line in said(done.stderr):
            if not any(one.fullmatch(line) for one in (OURS, SRUN, APPTAINER, allowed)):
                pytest.fail(f"not ours on stderr: {line!r}\n{told(done)}")
        return done


class Batch:
    """A job that sbatch has queued; its output is one stream.

    Parameters
    ----------
    jobs : Jobs
        Where it was submitted.
    number : str
        Slurm's.
    """

    def __init__(self, jobs: "Jobs", number: str) -> None:
        self._jobs = jobs
        self.number = number

    def field(self, name: str) -> str:
        """Return a field of ``scontrol show job``."""
        shown = self._jobs.shell("scontrol", "--oneliner", "show", "job", self.number)
        return dict(word.partition("=")[::2] for word in shown.split())[name]

    def wait_for(self, text: str, timeout: float = WORDS_SECONDS) -> None:
        """Wait until it has printed a text."""
        until(
            lambda: text in self.output,
            timeout,
            lambda: f"{text!r} not printed:\n{self.output}",
            every=0.1,
        )

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self._jobs.shell("sh", "-c", "cat out 2>/dev/null; true")

    def wait(
        self,
        timeout: float = GIVEN_UP_SECONDS,
        makes: tuple[str, ...] = (),
        leaves: str = "",
    ) -> Completed:
        """Wait for its end, and check that it leaves nothing; as :meth:`Job.wait`."""
        began = time.monotonic()
        runs = {"PENDING", "RUNNING", "COMPLETING"}
        until(
            lambda: self.field("JobState") not in runs,
            timeout,
            lambda: f"job {self.number} runs:\n{self.output}",
            every=0.1,
        )
        status, signal = map(int, self.field("ExitCode").split(":"))
        seconds = time.monotonic() - began
        done = Completed(
            f"job {self.number}",
            status or signal + 128 * (signal > 0),
            "",
            self.output,
            seconds,
        )
        self._jobs.check_left(makes, leaves, told(done))
        return done


class Jobs:
    """Starts jobs as the ordinary user, in a directory of the shared home.

    Parameters
    ----------
    cluster : Cluster
    directory : str
        Made here.
    """

    def __init__(self, cluster: Cluster, directory: str) -> None:
        self.cluster = cluster
        self.directory = directory
        self._written: set[str] = set()
        self._idle = True
        self.shell("mkdir", "-p", directory, cwd=HOME)
        self._before = self.look()

    def write(self, name: str, text: str) -> str:
        """Write a file into the directory; return its path."""
        path = f"{self.directory}/{name}"
        self.cluster.write(path, text)
        self._written.add(name)
        return path

    def shell(self, *command: str, user: str = "user", **how: Any) -> str:
        """Run a short command on the login node and return what it prints."""
        how.setdefault("cwd", self.directory)
        done = self.cluster.run(list(command), user=user, timeout=60, **how)
        assert done.returncode == 0, told(done)
        return done.stdout

    def start(self, *words: str, timeout: float = GIVEN_UP_SECONDS, **how: Any) -> Job:
        """Start a command on the login node."""
        how.setdefault("cwd", self.directory)
        self._idle = False
        return Job(self, self.cluster.start(list(words), timeout=timeout, **how))

    def srun(self, options: str, *args: str, **how: Any) -> Job:
        """Start ``srun OPTIONS apptainer run SIF ARGS``."""
        return self.start(
            "srun", *shlex.split(options), "apptainer", "run", SIF, *args, **how
        )

    def python(self, options: str, *args: str, **how: Any) -> Job:
        """Start ``srun OPTIONS apptainer exec SIF python ARGS``."""
        line = ["srun", *shlex.split(options), "apptainer", "exec", SIF, "python"]
        return self.start(*line, *args, **how)

    def batch(self, *args: str, env: dict[str, str] | None = None) -> "Batch":
        """Submit ``sbatch ARGS``; its output goes into the file ``out``."""
        line = ["sbatch", "--parsable", "--output=out", *args]
        return self.queued(self.shell(*line, env=env).strip())

    def queued(self, number: str) -> "Batch":
        """Take a job that was submitted from here; its output is the file ``out``."""
        self.makes("out")
        self._idle = False
        return Batch(self, number)

    def makes(self, name: str) -> None:
        """Know of a file in the directory that is not a job's."""
        self._written.add(name)

    def read(self, name: str) -> str:
        """Return the text of a file in the directory."""
        return self.shell("cat", name)

    def processes(self, node: str) -> str:
        """Return the user's processes on a node, each with its number."""
        return self.cluster.run(PROCESSES, node=node, user="root", timeout=30).stdout

    def look(self) -> set[str]:
        """Return all that a job could leave, one line each."""
        own = f"find {HOME}/.dask-runner '{self.directory}' -mindepth 1 -maxdepth 1"
        # As root: the user's processes are what is looked for.
        home = self.cluster.start(
            f"{own} 2>/dev/null; squeue -h", user="root", timeout=30
        )
        looks = {
            node: self.cluster.start(
                f"{PROCESSES}; {FILES}", node=node, user="root", timeout=30
            )
            for node in self.cluster.members()
        }
        seen = {
            f"{node}: {line.strip()}"
            for node, look in looks.items()
            for line in look.wait().stdout.splitlines()
        }
        mine = {f"{self.directory}/{name}" for name in self._written}
        return seen | set(home.wait().stdout.splitlines()) - mine

    def check_left(self, makes: tuple[str, ...], leaves: str, context: str) -> None:
        """Fail if processes, files or jobs stay that were not there before."""
        self._written |= {*makes, "__pycache__"}

        left: list[str] = []

        def nothing_left() -> bool:
            new = self.look() - self._before
            left[:] = sorted(
                line for line in new if not (leaves and re.search(leaves, line))
            )
            return not left

        until(
            nothing_left,
            GONE_SECONDS,
            lambda: "\n".join(["stays behind:", *left, context]),
            every=0.1,
        )
        self._idle = True

    def discard(self) -> None:
        """Cancel what still runs, and remove the directory."""
        # What has left nothing has nothing to end.
        if not self._idle:
            self._end_all()
        self.shell("rm", "-rf", self.directory, f"{HOME}/.dask-runner", cwd="/")

    def _end_all(self) -> None:
        self.shell("scancel", "--user=user")
        for node in self.cluster.members():
            self.cluster.run(["pkill", "-KILL", "-u", "user"], node=node, user="root")


def told(done: Completed) -> str:
    """Return all that is known of a command, for a test's message."""
    return (
        f"{done.command}\nstatus {done.returncode} after {done.seconds:.1f} s\n"
        f"--- stdout\n{done.stdout}--- stderr\n{done.stderr}"
    )


def ours(done: Completed) -> list[str]:
    """Return the lines of stderr that are the runner's."""
    return [line for line in said(done.stderr) if OURS.fullmatch(line)]
