"""``srun apptainer run dask-runner.sif script.py``: an unmodified Dask script."""

import json
from typing import Any

import pytest

from ci.slurm.cluster import HOME
from tests.cluster.jobs import MOST_LINES, SIF, Jobs, ours, told

ARGS = ("a", "b c", """it's "quoted" $HOME""", "", "-n")

SCRIPT = """\
import json, os, socket, sys

from distributed import Client

from beside import double

if __name__ == "__main__":
    client = Client()
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    print(json.dumps({
        "argv": sys.argv,
        "file": __file__,
        "cwd": os.getcwd(),
        "workers": sorted(int(worker["id"]) for worker in workers),
        "nodes": sorted(set(client.run(socket.gethostname).values())),
        "tasks": client.gather(client.map(double, range(20))),
        "environ": sorted(name for name in os.environ if "DASKRUNNER" in name),
    }))
"""

BESIDE = """\
def double(x):
    return 2 * x
"""


def last_line(stdout: str) -> Any:
    """Return what the script printed, which is all there is on stdout."""
    (line,) = stdout.splitlines()
    return json.loads(line)


@pytest.mark.system("Slurm", "main job")
@pytest.mark.system("Apptainer", "two nodes under Slurm")
@pytest.mark.parametrize(
    ("srun", "options", "workers", "nodes"),
    [
        ("-N2 -n4", (), [0, 1, 2, 3], ["c1", "c2"]),
        ("-N2 -n4", ("--layout", "dedicated"), [2, 3], ["c1", "c2"]),
        ("-N2 --ntasks-per-node=1", (), [0, 1], ["c1", "c2"]),
        ("-n1", (), [0], ["c1"]),
        ("-N2 --ntasks-per-node=8", (), [*range(16)], ["c1", "c2"]),
    ],
    ids=["4 tasks", "4 tasks, dedicated", "a task a node", "1 task", "16 tasks"],
)
def test_an_unmodified_script_runs_on_a_cluster_of_the_allocation(
    jobs: Jobs,
    srun: str,
    options: tuple[str, ...],
    workers: list[int],
    nodes: list[str],
) -> None:
    script = jobs.write("script.py", SCRIPT)
    jobs.write("beside.py", BESIDE)

    done = jobs.srun(srun, *options, "script.py", *ARGS).wait()

    assert done.returncode == 0, told(done)
    said = last_line(done.stdout)
    assert said == {
        "argv": ["script.py", *ARGS],
        "file": script,
        "cwd": jobs.directory,
        "workers": workers,
        "nodes": nodes,
        "tasks": [2 * x for x in range(20)],
        # For what the script starts: whose program it is, of which launch, where its
        # dashboard is, and that the variables of TLS are not the user's.
        "environ": [
            f"DASKRUNNER_{name}"
            for name in ("CLUSTER", "DASHBOARD", "LAUNCH", "NAME", "SITEHOOK", "TLS")
        ],
    }, told(done)
    assert len(done.stderr.splitlines()) <= MOST_LINES, told(done)


def test_compute_without_a_client_runs_on_the_workers_of_both_nodes(
    jobs: Jobs,
) -> None:
    jobs.write(
        "script.py",
        "import dask, socket, time\n"
        "def where(i):\n"
        "    time.sleep(0.2)\n"
        "    return socket.gethostname()\n"
        "tasks = [dask.delayed(where)(i) for i in range(8)]\n"
        "print(*sorted(set(dask.compute(*tasks))))\n",
    )

    done = jobs.srun("-N2 -n2", "script.py").wait()

    assert (done.returncode, done.stdout) == (0, "c1 c2\n"), told(done)


def test_an_exception_ends_the_job_with_1_and_one_traceback(jobs: Jobs) -> None:
    jobs.write("script.py", "def f():\n    return 1 / 0\n\n\nf()\n")

    done = jobs.srun("-N2 -n4", "script.py").wait(stray=".*")

    assert done.returncode == 1, told(done)
    begin = done.stderr.index("Traceback (most recent call last):\n")
    trace, _, _ = done.stderr[begin:].partition("dask-runner: ")
    assert [line for line in trace.splitlines() if "^" not in line] == [
        "Traceback (most recent call last):",
        f'  File "{jobs.directory}/script.py", line 5, in <module>',
        "    f()",
        f'  File "{jobs.directory}/script.py", line 2, in f',
        "    return 1 / 0",
        "ZeroDivisionError: division by zero",
    ], told(done)
    assert done.stderr.count("Traceback") == 1, told(done)


COUNT = """\
import sys
from distributed import Client
print(sys.argv[1:], len(Client().scheduler_info(n_workers=-1)["workers"]))
sys.exit(int(sys.argv[1]))
"""


# A kind of MPI each as well, for the runner needs none of them; and a status each.
@pytest.mark.parametrize(
    ("srun", "program", "status"),
    [
        ("--mpi=none", ("-c", COUNT), 0),
        ("--mpi=pmi2", ("-m", "package.module"), 3),
        ("--mpi=pmix", ("--", "python", "script.py"), 255),
    ],
    ids=["code, none", "module, pmi2", "command, pmix"],
)
def test_a_program_in_any_form_runs_under_any_kind_of_mpi_and_its_status_is_the_jobs(
    jobs: Jobs, srun: str, program: tuple[str, ...], status: int
) -> None:
    jobs.write("script.py", COUNT)
    jobs.shell("mkdir", "package")
    jobs.write("package/module.py", COUNT)
    args = (str(status), "a b", "-c")

    done = jobs.srun(f"-N2 -n2 {srun}", *program, *args).wait(makes=("package",))

    assert done.returncode == status, told(done)
    assert done.stdout == f"['{status}', 'a b', '-c'] 2\n", told(done)
    assert len(ours(done)) <= MOST_LINES, told(done)


FOLLOWERS = """\
import socket
from pathlib import Path

from distributed import Client


def followers():
    \"\"\"Return the resident KiB of each on this node.\"\"\"
    sizes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "status").read_text()
        except OSError:
            continue
        if status.startswith("Name:\\tdask-follower\\n"):
            sizes.append(int(status.partition("VmRSS:")[2].split()[0]))
    return socket.gethostname(), sizes


client = Client()
for node, sizes in sorted(dict(client.run(followers).values()).items()):
    print(node, len(sizes), all(size < 15 * 1024 for size in sizes))
"""


@pytest.mark.parametrize(
    ("contained", "followers"),
    [(False, 3), (True, 0)],
    ids=["one view of the node", "each with a /tmp of its own"],
)
def test_all_ranks_of_a_node_but_one_stay_small_where_they_see_the_same(
    jobs: Jobs, contained: bool, followers: int
) -> None:
    jobs.write("script.py", FOLLOWERS)
    own = ("--contain", "--bind", f"{HOME},/var/tmp", "--pwd", jobs.directory)
    line = (
        "srun",
        "-N2",
        "--ntasks-per-node=4",
        "apptainer",
        "run",
        *own * contained,
        SIF,
        "script.py",
    )

    done = jobs.start(*line).wait()

    assert done.returncode == 0, told(done)
    assert done.stdout == f"c1 {followers} True\nc2 {followers} True\n", told(done)
