"""Run a program of the benchmark once, on the cluster in containers; measure it."""

from __future__ import annotations

import json
import re
import shlex
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci.benchmarks.contenders import JOBS, Contender
from ci.slurm.cluster import LOGIN
from containers.commands import CommandTimeoutError

if TYPE_CHECKING:
    from ci.slurm.cluster import Cluster
    from containers.commands import Completed, Running

HERE = Path(__file__).parent
MEMORY = (HERE / "memory.py").read_text()
UID = "1000"
#: ci/benchmarks/jobs/measured.py prints this when its processes can be measured.
MEASURE_NOW = "bench: measure now"
#: Within this time the last processes of a cancelled job are gone.
CLEAR_SECONDS = 60
POLL = 0.1

#: The clock starts when srun starts, in an allocation that exists, and stops when srun
#: has returned. All nodes have the machine's clock.
_TIMED = 'date +%s.%N > "$BENCH_DIRECTORY/started"; {command}; status=$?; \
date +%s.%N > "$BENCH_DIRECTORY/ended"; exit $status'

#: System calls that may go to a file system (strace(1)).
TRACED = "%file,read,write,fstat,getdents64,fsync,lseek,flock,fcntl"
#: Strace runs in the container: outside, it would trace Apptainer's squashfuse as well,
#: and never end. The images can run the nodes' strace. It writes to the
#: node's own disk.
TRACER = f"""\
#!/bin/bash
verb=$1 image=$2
shift 2
[ "$verb" = run ] && set -- dask-runner "$@"
binds=/usr/bin/strace,$(ldd /usr/bin/strace | grep -oE '/[^ ]*lib(unwind|dw|elf)[^ ]*' |
    paste -sd,)
exec /usr/bin/apptainer exec --bind "$binds" "$image" strace -f --seccomp-bpf -qq -y \\
    -e trace={TRACED} -o "/tmp/bench-strace.$SLURM_STEP_ID.$SLURM_PROCID" "$@"
"""
_ELSEWHERE = re.compile(r'AT_FDCWD<[^>]*>, "/')
_SHARED = re.compile(r'["<]/home/|AT_FDCWD</home')


@dataclass(slots=True)
class Run:
    """The results of one run.

    Attributes
    ----------
    name, shape, size, workers
        Which run it was.
    status : int or None
        The job's; None if it had to be ended at the deadline.
    ready : float or None
        Seconds from the start of srun until all workers are registered.
    closing : float or None
        Seconds from the script's last statement until the last rank has gone.
    total : float or None
        Seconds from the start of srun to its end.
    stderr : int
        Lines on stderr.
    memory : dict
        Bytes, as ``ci/benchmarks/memory.py`` counts them, summed over the nodes.
    moved : dict
        What ``ci/benchmarks/jobs/moved.py`` measured; empty in other runs.
    trouble : str
        What went wrong; empty if nothing did.
    """

    name: str
    shape: str
    size: int
    workers: int
    status: int | None = None
    ready: float | None = None
    closing: float | None = None
    total: float | None = None
    stderr: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    trouble: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as a dict for JSON."""
        return asdict(self)


def install(cluster: Cluster) -> None:
    """Put the programs of the benchmark into the shared home."""
    cluster.run(f"mkdir -p {JOBS}")
    for path in (HERE / "jobs").iterdir():
        if path.is_file():
            cluster.write(f"{JOBS}/{path.name}", path.read_text())


def measure(cluster: Cluster, contender: Contender, size: int, deadline: float) -> Run:
    """Run a program once.

    Parameters
    ----------
    cluster : Cluster
        A cluster of two nodes with enough CPUs.
    contender : Contender
    size : int
        Ranks, or workers.
    deadline : float
        Seconds after which it is ended; ``trouble`` then says so.
    """
    run = Run(contender.name, contender.shape, size, contender.workers(size))
    place = _place(cluster)
    line = _TIMED.format(command=contender.line(size))
    running = _start(cluster, contender, size, place, line, deadline)
    try:
        if not contender.floor:
            _hold(cluster, running, place, run, deadline)
        completed = running.wait()
        run.status = completed.returncode
    except CommandTimeoutError as error:
        completed = error.completed
        run.trouble = f"not ready or no end within {deadline:g} s"
    finally:
        clear(cluster)
    run.stderr = len(completed.stderr.splitlines())
    _take_times(cluster, place, run, completed, floor=contender.floor)
    cluster.run(["rm", "-rf", place])
    return run


def home_calls(
    cluster: Cluster, contender: Contender, size: int, deadline: float
) -> float | None:
    """Return the file-system calls on the shared home, per rank, of one run.

    All processes in the ranks' containers are counted. The result is None if the run
    failed.
    """
    place = _place(cluster)
    # The ranks find this on their PATH before the real Apptainer.
    cluster.write(f"{place}/apptainer", TRACER, mode=0o755)
    command = contender.line(size)
    line = f'PATH="$BENCH_DIRECTORY:$PATH"; touch "$BENCH_DIRECTORY/go"; {command}'
    running = _start(cluster, contender, size, place, line, deadline)
    try:
        completed = running.wait()
    except CommandTimeoutError:
        completed = None
    finally:
        clear(cluster)
        cluster.run(["rm", "-rf", place])
    calls = 0
    for node in cluster.members():
        if node != LOGIN:
            files = "/tmp/bench-strace.*"  # noqa: S108  as above
            found = cluster.run(
                f"cat {files} 2>/dev/null | grep /home/; rm -f {files}",
                node=node,
                user="root",
                timeout=120,
            )
            calls += sum(map(on_shared_home, found.stdout.splitlines()))
    if completed is None or completed.returncode:
        return None
    return calls / size


def on_shared_home(line: str) -> bool:
    """Return whether a line of strace is a call on the shared home.

    If the path is absolute, the working directory that strace shows does not count.
    """
    return bool(_SHARED.search(_ELSEWHERE.sub('"/', line)))


def _place(cluster: Cluster) -> str:
    made = cluster.run("mktemp -d /home/user/bench-XXXXXX")
    return made.stdout.strip()


def _start(
    cluster: Cluster,
    contender: Contender,
    size: int,
    place: str,
    line: str,
    deadline: float,
) -> Running:
    env = {
        "BENCH_DIRECTORY": place,
        "BENCH_JOBS": JOBS,
        "BENCH_WORKERS": str(contender.workers(size)),
    }
    if contender.shape == "moved":
        env["BENCH_MOVED"] = "1"
    ranks = contender.ranks(size)
    # All memory of the nodes: these claim more CPUs than there are.
    job = f"salloc -Q -N2 -n{ranks} --overcommit --mem=0"
    command = f"{job} bash -c {shlex.quote(line)}"
    return cluster.start(command, env=env, timeout=deadline, cwd=place)


def _hold(
    cluster: Cluster, running: Running, place: str, run: Run, deadline: float
) -> None:
    """Measure the memory while the script waits, then make it go on."""
    running.wait_for(MEASURE_NOW, deadline)
    found = cluster.run(["cat", f"{place}/pids"])
    for node in cluster.members():
        pids = [str(pid) for host, pid in json.loads(found.stdout) if host == node]
        if pids:
            counted = cluster.run(
                ["python3", "-c", MEMORY, UID, *pids], node=node, user="root"
            )
            for name, size in json.loads(counted.stdout).items():
                run.memory[name] = run.memory.get(name, 0) + size
    if run.shape == "moved":
        run.moved = json.loads(cluster.run(["cat", f"{place}/moved"]).stdout)
    cluster.run(["touch", f"{place}/go"])


def _take_times(
    cluster: Cluster, place: str, run: Run, completed: Completed, *, floor: bool
) -> None:
    found = cluster.run(
        f"cd {place} && for name in started ready end ended; do "
        'echo "$name $(cat $name 2>/dev/null)"; done'
    )
    words = (line.split() for line in found.stdout.splitlines())
    at = {pair[0]: float(pair[1]) for pair in words if len(pair) > 1}
    if run.status and not run.trouble:
        last = completed.stderr.strip().splitlines()[-1:] or [""]
        run.trouble = f"status {run.status}: {last[0][:200]}"
    if {"started", "ended"} <= at.keys() and run.status is not None:
        run.total = at["ended"] - at["started"]
    if floor:
        run.ready = run.total
        return
    if {"started", "ready"} <= at.keys():
        run.ready = at["ready"] - at["started"]
    if {"end", "ended"} <= at.keys() and run.status is not None:
        run.closing = at["ended"] - at["end"]


def clear(cluster: Cluster) -> None:
    """Cancel what is left of a run, which would slow down the next."""
    cluster.run("scancel --user=user; true")
    until = time.monotonic() + CLEAR_SECONDS
    while time.monotonic() < until:
        if not cluster.run("squeue -h").stdout.strip():
            return
        time.sleep(POLL)
