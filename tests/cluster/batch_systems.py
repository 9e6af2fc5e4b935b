"""Jobs that ``dask-runner job`` prints, on a batch system in containers."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ci.slurm.cluster import HOME, Cluster
from tests.cluster.jobs import SIF, told
from tests.waiting import until

if TYPE_CHECKING:
    from containers.commands import Completed, Running

#: No claim: a batch system on a busy machine takes its time.
SECONDS = 180
NODES = ("c1", "c2")
#: Apptainer's server of an image, which stays where all its other processes are killed.
KILLED = re.compile(r"squashfuse_ll .*/var/lib/apptainer/mnt/session/rootfs")


@dataclass(frozen=True)
class Batch:
    """A batch system: how a user submits a job and waits for its status.

    Attributes
    ----------
    name : str
        Its row in ``ci/systems.py``, and of ``dask-runner job``.
    options, beside : str
        What a job on two nodes needs, and another that runs beside it.
    submit : str
        Submits the job script on the standard input of this, waits for the job's end,
        and ends with its status.
    cancel : str
        Takes all jobs of the user away.
    in_order : bool
        Whether ranks hear of that, by SIGTERM, before they are killed.
    """

    name: str
    options: str
    beside: str
    submit: str
    cancel: str
    in_order: bool


GRID_ENGINE = Batch(
    "sge",
    "-N 2 --set parallel_environment=mpi",
    "-N 2 --set parallel_environment=mpi",
    # It says nothing of the status of a job of which a part was killed; qacct does.
    "{ number=$(qsub -sync y -terse | head -n 1);"
    " until status=$(qacct -j $number 2>/dev/null | awk '/^exit_status/ { print $2 }')"
    ' && [ -n "$status" ]; do sleep 0.2; done; exit $status; }',
    "qdel -u user",
    in_order=False,
)

#: The larger slot of each node, and what is left.
HTCONDOR = Batch(
    "htcondor",
    "-N 2 --cpus-per-task 8",
    "-N 2",
    "{ number=$(condor_submit -terse -) && number=${number%%.*} &&"
    f" condor_wait -wait {SECONDS} *.$number.log >/dev/null;"
    # The history comes after the log; of a job that was taken away it has no status.
    " until status=$(condor_history $number -limit 1 -af ExitCode) &&"
    ' [ -n "$status" ]; do sleep 0.2; done; exit ${status#undefined}; }',
    "condor_rm -all",
    in_order=True,
)

#: Half of the cores of each node.
OAR = Batch(
    "oar",
    "-N 2 --cpus-per-task 8",
    "-N 2 --cpus-per-task 8",
    # It reads no job script from its standard input, and its job may end in an error
    # that has no status.
    "{ job=$(mktemp -p .) && cat >$job && chmod +x $job &&"
    ' number=$(oarsub -S $job | sed -n s/OAR_JOB_ID=//p) && [ -n "$number" ] &&'
    ' until done=$(oarstat -fj $number) && echo "$done" |'
    " grep -Eqx ' *state = (Terminated|Error)'; do sleep 0.2; done;"
    " exit $(echo \"$done\" | sed -n 's/ *exit_code = .*(\\([0-9]*\\),.*/\\1/p'); }",
    "oardel --sql \"state NOT IN ('Terminated', 'Error')\"",
    in_order=False,
)


class Site:
    """A directory of the shared home, and jobs that are submitted from there.

    Parameters
    ----------
    cluster : Cluster
    batch : Batch
    directory : str
        Made here.
    """

    def __init__(self, cluster: Cluster, batch: Batch, directory: str) -> None:
        self.cluster = cluster
        self.batch = batch
        self.directory = directory
        self._started: list[Running] = []
        self.shell(f"mkdir -p {shlex.quote(directory)}", cwd=HOME)

    def write(self, name: str, text: str) -> None:
        """Write a file into the directory."""
        self.cluster.write(f"{self.directory}/{name}", text)

    def shell(self, line: str, **how: Any) -> str:
        """Run a short line on the login node, and return what it prints."""
        how.setdefault("cwd", self.directory)
        done = self.cluster.run(line, timeout=60, **how)
        assert done.returncode == 0, told(done)
        return done.stdout

    def dask_runner(self, *args: str) -> str:
        """Run dask-runner on the login node, and return what it prints."""
        return self.shell(shlex.join(["apptainer", "run", SIF, *args]))

    def submit(self, *args: str, name: str = "job", options: str = "") -> Running:
        """Submit what ``dask-runner job`` prints for these arguments."""
        job = [*shlex.split(options or self.batch.options), "--job-name", name]
        line = ["apptainer", "run", SIF, "job", self.batch.name, *job]
        line += ["--output", f"{name}.out", "--", *args]
        started = self.cluster.start(
            f"{shlex.join(line)} | {self.batch.submit}",
            cwd=self.directory,
            timeout=SECONDS + 60,
        )
        self._started.append(started)
        return started

    def output(self, name: str = "job") -> str:
        """Return what a job has printed so far."""
        return self.shell(f"cat {name}.out 2>/dev/null; true")

    def wait_for(self, text: str, name: str = "job") -> None:
        """Wait until a job has printed a text."""
        until(
            lambda: text in self.output(name),
            SECONDS,
            lambda: f"{text!r} not in:\n{self.output(name)}",
            every=0.2,
        )

    def told(self, done: Completed, name: str = "job") -> str:
        """Return all that is known of a job, for a test's message."""
        return f"{told(done)}--- {name}.out\n{self.output(name)}"

    def check_left(self) -> None:
        """Fail if a process of the user's stays on a node."""

        def left() -> str:
            looks = [
                self.cluster.start(
                    "ps -u user -o pid=,args= || true", node=node, user="root"
                )
                for node in NODES
            ]
            lines = "".join(look.wait().stdout for look in looks).splitlines()
            return "\n".join(line for line in lines if not KILLED.search(line))

        until(lambda: not left(), 20, left, every=0.2)

    def discard(self) -> None:
        """Take away what still runs, and remove the directory."""
        if any(started.running for started in self._started):
            self.cluster.run(self.batch.cancel)
            for started in self._started:
                started.wait()
        line = f"rm -rf {shlex.quote(self.directory)} .dask-runner"
        self.shell(line, cwd=HOME)
