"""What docs/admin/site-kit.md says of settings that some sites have."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import NAME
from tests.cluster.jobs import HOME, SIF, Jobs, told
from tests.programs import BEGIN, BURN, UNTIL_TOLD
from tests.waiting import until

NODES = ("c1", "c2")

SCRIPT = """\
import socket

from distributed import Client

if __name__ == "__main__":
    print(sorted(set(Client().run(socket.gethostname).values())))
"""


@pytest.fixture
def hidden(jobs: Jobs) -> Iterator[None]:
    """Nodes on which nobody sees the processes of another account."""

    def mount(how: str) -> None:
        for node in NODES:
            line = f"mount -o remount,{how} /proc"
            done = jobs.cluster.run(line, node=node, user="root", timeout=60)
            assert done.returncode == 0, told(done)

    mount("hidepid=2")
    yield
    mount("hidepid=0")


@pytest.fixture
def without_fuse(jobs: Jobs) -> Iterator[None]:
    """Nodes whose users may not mount with FUSE."""

    def allow(mode: str) -> None:
        for node in NODES:
            jobs.cluster.run(f"chmod {mode} /dev/fuse", node=node, user="root")

    allow("600")
    yield
    allow("666")


@pytest.mark.heavy
@pytest.mark.usefixtures("hidden")
def test_a_script_runs_where_processes_of_others_are_hidden(jobs: Jobs) -> None:
    done = jobs.srun("-N2 --ntasks-per-node=2", jobs.write("s.py", SCRIPT)).wait()

    assert done.returncode == 0, told(done)
    assert done.stdout == "['c1', 'c2']\n"


@pytest.mark.heavy
def test_a_script_runs_with_fakeroot(jobs: Jobs) -> None:
    script = jobs.write("s.py", SCRIPT)
    line = ("srun", "-N2", "apptainer", "run", "--fakeroot", SIF, script)

    done = jobs.start(*line).wait()

    assert done.returncode == 0, told(done)
    assert done.stdout == "['c1', 'c2']\n"


TASKS = """\
from distributed import Client

def world():
    from mpi4py import MPI

    return MPI.COMM_WORLD.Get_size()

if __name__ == "__main__":
    print(sorted(Client().run(world).values()))
"""


@pytest.mark.heavy
def test_mpi_in_tasks_is_refused_with_fakeroot_unless_one_is_oneself_again(
    jobs: Jobs,
) -> None:
    script = jobs.write("s.py", TASKS)
    srun = ("srun", "-N2", "--mpi=pmix", "apptainer")

    refused = jobs.start(*srun, "run", "--fakeroot", SIF, "--mpi-tasks", script).wait()

    assert refused.returncode == 78, told(refused)
    assert "Slurm's PMIx takes nobody but the job's user" in refused.stderr

    user, group = (jobs.shell("id", what).strip() for what in ("-u", "-g"))
    again = ("unshare", "--user", f"--map-user={user}", f"--map-group={group}")
    done = jobs.start(
        *srun, "exec", "--fakeroot", SIF, *again, "dask-runner", "--mpi-tasks", script
    ).wait()

    assert (done.returncode, done.stdout) == (0, "[2, 2]\n"), told(done)


@pytest.mark.heavy
@pytest.mark.usefixtures("without_fuse")
def test_a_script_runs_where_a_node_has_no_fuse(jobs: Jobs) -> None:
    script = jobs.write("s.py", SCRIPT)
    line = ("srun", "-N2", "apptainer", "run", "--unsquash", SIF, script)

    done = jobs.start(*line).wait(stray="INFO: +(Converting|Cleaning up).*")

    assert done.returncode == 0, told(done)
    assert done.stdout == "['c1', 'c2']\n"


#: Of each node; what its task may use, and more of it than a worker gets.
MIB = 600

GROWS = """\
import sys, time
from distributed import Client, KilledWorker

def grow(mib):
    held = []
    while len(held) * 8 < mib:
        held.append(b"x" * (8 << 20))
        time.sleep(0.05)

if __name__ == "__main__":
    client = Client()
    client.wait_for_workers(2)
    if sys.argv[1] == "here":
        grow(1000)
    try:
        client.submit(grow, 1000, workers=[1]).result()
    except KilledWorker:
        client.wait_for_workers(2)  # it has a name when it is there again
        print(client.submit(sum, [1, 2], workers=[1]).result())
"""


@pytest.fixture(scope="module")
def limited(engine: Any, shown: None, worker: str, require: Any) -> Iterator[Any]:
    """A cluster whose Slurm limits memory and CPUs, of the machine's own CPUs."""
    del shown
    from ci.slurm.cluster import Cluster  # noqa: PLC0415  only where containers are
    from containers.node_image import ensure_slurm_image  # noqa: PLC0415  as above

    name = f"{NAME}{worker}-limits"
    cluster = Cluster(name, cpus=2, system="slurm-cgroups", client=engine)
    with require("a mirror of Debian with Slurm and Apptainer", "cluster"):
        ensure_slurm_image(engine)
    with cluster:
        yield cluster


@pytest.fixture
def limited_jobs(limited: Any) -> Iterator[Jobs]:
    """Run jobs there."""
    jobs = Jobs(limited, f"{HOME}/limited")
    yield jobs
    jobs.discard()


@pytest.mark.heavy
def test_a_worker_over_its_limit_is_restarted_before_the_kernel_kills(
    limited_jobs: Jobs,
) -> None:
    script = limited_jobs.write("grows.py", GROWS)
    env = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    options = ("--report", "r.json", script, "there")

    done = limited_jobs.srun(f"-N2 --mem={MIB}", *options, env=env).wait(
        makes=("r.json",)
    )

    assert (done.returncode, done.stdout) == (0, "3\n"), told(done)
    assert "worker 1 of rank 1 on c2 was killed by SIGKILL (it used " in done.stderr
    report = json.loads(limited_jobs.shell("cat", "r.json"))
    assert report["memory"]["allotted"] == 2 * MIB * 2**20
    [second] = (one for one in report["workers"] if one["name"] == "1")
    assert second["memory_limit"] < MIB * 2**20
    # Looked at a few times a second, while it grows.
    assert second["memory_limit"] * 0.8 < second["memory_peak"] < MIB * 2**20
    assert second["memory_peak"] < report["memory"]["peak"]
    assert report["memory"]["peak"] < report["memory"]["allotted"]


@pytest.mark.heavy
def test_a_job_over_its_allotment_tells_that_the_kernel_has_killed(
    limited_jobs: Jobs,
) -> None:
    script = limited_jobs.write("grows.py", GROWS)

    done = limited_jobs.srun(f"-N2 --mem={MIB}", script, "here").wait(
        stray="slurmstepd-c1: error: Detected .* oom_kill event.*"
        "|srun: error: c1: task 0: Out Of Memory"
    )

    assert "error: the client on c1 was killed by SIGKILL (by the kernel, " in (
        done.stderr
    ), told(done)
    assert "ended with status 137" in done.stderr


#: Each worker computes and holds memory; then all wait, so that Slurm looks once more.
BURNS = f"""{BEGIN}{BURN}
client.gather([client.submit(burn, 3, workers=0, pure=False),
               client.submit(burn, 2, workers=1, pure=False)])
{UNTIL_TOLD}
"""


@pytest.mark.heavy
def test_the_report_agrees_with_slurms_own_accounting(limited_jobs: Jobs) -> None:
    """Slurm counts Apptainer and its mount as well, and what the kernel caches."""
    limited_jobs.write("burns.py", BURNS)
    line = f"srun --acctg-freq=task=1 apptainer run {SIF} --report r.json burns.py"
    job = limited_jobs.batch("-N2", "-c1", "--wrap", line)
    job.wait_for("begun")
    told_by_slurm: dict[str, int] = {}

    def has_looked() -> bool:
        # cpu=00:00:06,…,mem=311640K,…: of all tasks; then the most of one task, in KiB.
        columns = "--format=TRESUsageInTot,TRESUsageInMax,TRESUsageInMin"
        said = limited_jobs.shell("sstat", "-Pn", "-j", f"{job.number}.0", columns)
        for name, column in zip(
            ("all", "most", "least"), said.strip().split("|"), strict=True
        ):
            used = dict(one.split("=") for one in column.split(","))
            hours, minutes, seconds = map(int, used["cpu"].split(":"))
            told_by_slurm[f"{name} cpu"] = (hours * 60 + minutes) * 60 + seconds
            told_by_slurm[f"{name} memory"] = int(used["mem"].removesuffix("K")) << 10
        return told_by_slurm["least cpu"] >= 2

    until(has_looked, 60, lambda: str(told_by_slurm), every=0.5)
    limited_jobs.write("go", "")
    done = job.wait(makes=("r.json",))

    assert done.returncode == 0, told(done)
    report = json.loads(limited_jobs.shell("cat", "r.json"))
    seconds = sum(node["cpu_seconds"] for node in report["nodes"])
    # Slurm prints whole seconds of each task; the end came after it has looked.
    assert abs(seconds - told_by_slurm["all cpu"]) <= 4, (told_by_slurm, report)
    slurms = [told_by_slurm["most memory"], told_by_slurm["least memory"]]
    ours = sorted((node["memory_peak"] for node in report["nodes"]), reverse=True)
    for peak, slurm in zip(ours, slurms, strict=True):
        assert 0.6 * slurm < peak < 1.1 * slurm, (told_by_slurm, report)
