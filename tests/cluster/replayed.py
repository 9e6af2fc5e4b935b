"""Batch systems that nobody here can run, replayed on hosts with a shared home.

The hosts, their network, ssh between them, the shared home, Apptainer and the job
script of ``dask-runner job`` are real. What the system would do is not: this sets the
variables that its documentation gives to a job, writes the file with the job's hosts,
and a stand-in starts a command on one of them, over ssh, in the worst way that the
documentation allows: in the user's home, and with the system's own variables alone.
"""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci.slurm.cluster import HOME, Cluster
from dask_runner.batch import job_script
from dask_runner.batch.job_script import Job
from dask_runner.batch.systems import BY_NAME
from tests.cluster.jobs import SIF
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from containers.commands import Completed, Running

#: No claim, but what a busy machine may take.
SECONDS = 120
NODES = ("c1", "c2")
#: A host that is lost is noticed within this time, and not within half a minute.
OPTIONS = ("--silence", "5")
#: A host that is lost may be one whose ssh says so, with a status of its own.
SSH = 255

#: Stands in for what starts a command on a host: as rsh, but that its own variables are
#: all that it hands on.
STAND_IN = """\
#!/usr/bin/python3
import json, os, shlex, sys
here, name = os.path.split(os.path.abspath(sys.argv[0]))
with open(f"{here}/{name}.json") as file:
    told = json.load(file)
words = sys.argv[1:]
while words[0].startswith("-"):
    del words[0]
host, *command = words
line = shlex.join(command) if told["exact"] else " ".join(command)
known = [f"{key}={os.environ[key]}" for key in told["variables"]]
given = shlex.join(["export", *known, *told["own"]])
os.execvp("ssh", ["ssh", "-n", host, f"{given}; {line}"])
"""

#: Lists a job's processes, without those that stand in for the system's own.
_OF_JOB = "ps -u user -o pid=,comm= | awk '$2 !~ /^ssh/ { print $1 }'"


@dataclass(frozen=True)
class Starter:
    """What starts one command on one host of a job.

    Attributes
    ----------
    name : str
    variables : tuple of str
        What a command learns from the job's own variables.
    own : tuple of str
        What it is told beside, as NAME=VALUE.
    exact : bool
        Whether it takes words of a command, and not a line for a shell.
    """

    name: str
    variables: tuple[str, ...]
    own: tuple[str, ...]
    exact: bool


@dataclass(frozen=True)
class System:
    """A batch system.

    Attributes
    ----------
    name : str
        Its row of ``dask-runner job``; "" where it starts ranks itself.
    hosts : str
        Where the job's hosts are listed, in the job's directory.
    starter : Starter or None
    variables : tuple of str
        What each process of a job finds, as NAME=VALUE: ``{directory}`` is the job's
        directory, ``{job}`` its number, ``{rank}`` and ``{size}`` those of a rank.
    signal : str
        What all processes of a job get first when it is taken away; "" for none.
    kill_after : int
        Seconds until those that are left get another, or are killed.
    """

    name: str
    hosts: str
    starter: Starter | None
    variables: tuple[str, ...]
    signal: str = ""
    kill_after: int = 0


#: OpenPBS, src/resmom/start_exec.c and src/cmds/pbs_tmrsh.c; the administrator's guide.
PBS = System(
    "pbs",
    "c1\nc2\n",
    Starter(
        "pbs_tmrsh",
        ("PBS_JOBID", "PBS_NODEFILE", "PBS_ENVIRONMENT", "PBS_O_WORKDIR"),
        ("PBS_TASKNUM=2", "PBS_NODENUM=1"),
        exact=True,
    ),
    (
        "PBS_JOBID={job}.server",
        "PBS_JOBNAME=dask",
        "PBS_ENVIRONMENT=PBS_BATCH",
        "PBS_NODEFILE={directory}/hosts",
        "PBS_O_WORKDIR={directory}",
        "PBS_NODENUM=0",
        "PBS_TASKNUM=1",
        "PBS_JOBCOOKIE=0123456789ABCDEF",
        "NCPUS=1",
    ),
    # kill_delay of a queue, in the administrator's guide.
    "TERM",
    10,
)

#: IBM Spectrum LSF 10.1: "Environment variables set for job execution", blaunch.
LSF = System(
    "lsf",
    "c1\nc2\n",
    Starter(
        "blaunch",
        ("LSB_JOBID", "LSB_JOBINDEX", "LSB_DJOB_HOSTFILE", "LSB_DJOB_NUMPROC"),
        ("LSF_PM_TASKID=1",),
        exact=True,
    ),
    (
        "LSB_JOBID={job}",
        "LSB_JOBINDEX=0",
        "LSB_JOBNAME=dask",
        "LSB_DJOB_HOSTFILE={directory}/hosts",
        "LSB_DJOB_NUMPROC=2",
        "LSB_HOSTS=c1 c2",
        "LSB_MCPU_HOSTS=c1 1 c2 1",
        "LSB_QUEUE=normal",
    ),
    # bkill: SIGTERM and SIGKILL follow (JOB_TERMINATE_INTERVAL).
    "INT",
    10,
)

#: OAR 2.6, "Environment variables of a job" and oarsh(1); a line for each core.
OAR = System(
    "oar",
    "c1\nc1\nc2\nc2\n",
    Starter("oarsh", ("OAR_JOB_ID",), (), exact=False),
    (
        "OAR_JOB_ID={job}",
        "OAR_JOBID={job}",
        "OAR_NODEFILE={directory}/hosts",
        "OAR_NODE_FILE={directory}/hosts",
        "OAR_WORKDIR={directory}",
        "OAR_JOB_WALLTIME_SECONDS=7200",
        "OAR_ARRAY_ID={job}",
    ),
)

#: flux-environment(7) of flux-core: flux run hands directory and variables on.
FLUX = System(
    "",
    "",
    None,
    (
        "FLUX_JOB_ID=f{job}",
        "FLUX_JOB_ID_PATH=/f{job}",
        "FLUX_JOB_NNODES={size}",
        "FLUX_JOB_SIZE={size}",
        "FLUX_JOB_TMPDIR=/tmp",
        "FLUX_KVS_NAMESPACE=job-{job}",
        "FLUX_TASK_RANK={rank}",
        "FLUX_TASK_LOCAL_ID=0",
        "FLUX_URI=local:///tmp/flux/local-0",
        "PMI_RANK={rank}",
        "PMI_SIZE={size}",
    ),
    # flux-cancel(1), and kill-timeout of flux-config-exec(5).
    "TERM",
    5,
)


class Started:
    """The processes of a job that the system itself would have started."""

    def __init__(self, parts: Sequence[Running]) -> None:
        self.parts = parts

    @property
    def output(self) -> str:
        """What the job has printed so far."""
        return "".join(part.stdout + part.stderr for part in self.parts)

    def wait_for(self, text: str) -> None:
        """Wait until the job has printed a text."""

        def seen() -> bool:
            return text in self.output or not any(part.running for part in self.parts)

        until(seen, SECONDS, lambda: self.output, every=0.1)
        assert text in self.output, self.output

    def wait(self) -> list[int]:
        """Wait for the job's end; return the statuses of its parts."""
        return [part.wait().returncode for part in self.parts]


class Site:
    """A site of one system, where jobs are submitted from a directory.

    Parameters
    ----------
    cluster : Cluster
        Hosts with a shared home.
    system : System
    directory : str
        Made here.
    """

    def __init__(self, cluster: Cluster, system: System, directory: str) -> None:
        self.cluster = cluster
        self.system = system
        self.directory = directory
        self._jobs = 100
        self._started: list[Started] = []
        self.run(f"mkdir -p {shlex.quote(directory)}/bin", cwd=HOME)
        cluster.write(f"{directory}/hosts", system.hosts)
        if starter := system.starter:
            told = {
                "variables": starter.variables,
                "own": starter.own,
                "exact": starter.exact,
            }
            where = f"{directory}/bin/{starter.name}"
            cluster.write(where, STAND_IN, mode=0o755)
            cluster.write(f"{where}.json", json.dumps(told))

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file into the directory."""
        self.cluster.write(f"{self.directory}/{name}", text, mode=mode)

    def run(self, line: str, **how: str) -> Completed:
        """Run a line on the login node."""
        how.setdefault("cwd", self.directory)
        done = self.cluster.run(line, timeout=60, **how)
        assert done.returncode == 0, done
        return done

    def dask_runner(self, *args: str) -> str:
        """Run dask-runner on the login node; return what it prints."""
        return self.run(shlex.join(["apptainer", "-s", "run", SIF, *args])).stdout

    def submit(self, *args: str, container: str = "apptainer -s run") -> Started:
        """Start a job of two ranks, on two hosts."""
        self._jobs += 1
        starts = self._ranks if self.system.starter is None else self._script
        started = Started(starts(args, container))
        self._started.append(started)
        return started

    def _script(self, args: Sequence[str], container: str) -> list[Running]:
        given = {"nodes": "2", "image": SIF, "container": container}
        job = Job(BY_NAME[self.system.name], tuple(args), given)
        name = f"job-{self._jobs}"
        self.write(name, job_script.make(job, {}, {}).decode())
        return [self._start("c1", ["sh", name], 0)]

    def _ranks(self, args: Sequence[str], container: str) -> list[Running]:
        command = [*shlex.split(container), SIF, *args]
        return [self._start(node, command, rank) for rank, node in enumerate(NODES)]

    def _start(self, node: str, command: Sequence[str], rank: int) -> Running:
        told = {"directory": self.directory, "job": self._jobs, "rank": rank, "size": 2}
        pairs = (one.format(**told).split("=", 1) for one in self.system.variables)
        env = {"PATH": f"{self.directory}/bin:/usr/bin:/bin", **dict(pairs)}
        return self.cluster.start(
            command, node=node, env=env, cwd=self.directory, timeout=SECONDS
        )

    def take_away(self) -> None:
        """End the job as the system would: a signal for all its processes, and a kill.

        Apptainer's server of the image is among them, so the end may be in no order.
        """
        self._signal(self.system.signal)
        latest = time.monotonic() + self.system.kill_after
        while self._job() and time.monotonic() < latest:
            time.sleep(0.2)
        self._signal("KILL")

    def _signal(self, number: str) -> None:
        line = f"{_OF_JOB} | xargs -r kill -{number}"
        sent = [self.cluster.start(line, node=one, user="root") for one in NODES]
        for one in sent:
            one.wait()

    def _job(self) -> str:
        return "".join(
            self.cluster.run(_OF_JOB, node=node, user="root").stdout for node in NODES
        )

    def left(self) -> str:
        """Return the processes of the user's that run on the hosts."""
        look = "ps -u user -o pid=,args= | grep -v -e 'ps -u' -e grep || true"
        return "".join(
            self.cluster.run(look, node=node, user="root").stdout for node in NODES
        )

    def discard(self) -> None:
        """End what still runs, and remove the directory."""
        if any(part.running for one in self._started for part in one.parts):
            for node in NODES:
                self.cluster.run("pkill -KILL -u user", node=node, user="root")
            for one in self._started:
                one.wait()
        self.run(f"rm -rf {shlex.quote(self.directory)} .dask-runner", cwd=HOME)
