"""Heterogeneous steps: the components of one srun are one cluster."""

from __future__ import annotations

import pytest

from tests.cluster.jobs import SIF, Jobs, told

#: A task for each group of workers, and where it has run.
GROUPS = """\
import socket
from distributed import Client
client = Client()
workers = client.scheduler_info(n_workers=-1)["workers"].values()
of_node = {one["name"]: (one["nthreads"], one["resources"]) for one in workers}
for group in ("cpu-like", "gpu-like"):
    where = client.submit(socket.gethostname, resources={group: 1}, pure=False)
    print(group, where.result())
for name in sorted(of_node, key=str):
    print(name, *of_node[name])
"""
#: Both spellings: components of a job, and of a step of an ordinary job.
SPELLINGS = pytest.mark.parametrize(
    "srun",
    [
        "salloc -Q -n1 -c3 : -n2 srun --het-group=0 {} : --het-group=1 {}",
        "salloc -Q -N2 --ntasks-per-node=3 srun -N1 -n1 -c3 {} : -N1 -n2 -c1 {}",
        "srun -n1 -c3 {} : -n2 -c1 {}",
    ],
    ids=["groups", "step", "srun"],
)
#: What salloc and srun say of a job that has to wait.
WAITS = r"(salloc|srun): .*"


def started(srun: str, *components: str) -> tuple[str, ...]:
    """Return the words of a command line, one program for each component."""
    programs = [f"apptainer run {SIF} {options}" for options in components]
    return tuple(srun.format(*programs).split())


@SPELLINGS
def test_components_are_one_cluster_whose_groups_tasks_can_choose(
    jobs: Jobs, srun: str
) -> None:
    jobs.write("script.py", GROUPS)
    line = started(
        srun,
        "--nthreads 3 --resources cpu-like=2 script.py",
        "--nthreads 1 --nworkers 2 --resources gpu-like=1 script.py",
    )

    done = jobs.start(*line).wait(stray=WAITS)

    assert done.returncode == 0, told(done)
    assert done.stdout.splitlines() == [
        "cpu-like c1",
        "gpu-like c2",
        "0 3 {'cpu-like': 2.0}",
        "1 1 {'gpu-like': 1.0}",
        "1-1 1 {'gpu-like': 1.0}",
        "2 1 {'gpu-like': 1.0}",
        "2-1 1 {'gpu-like': 1.0}",
    ], told(done)
    assert ": 3 ranks, " in done.stderr, told(done)


def test_one_line_for_all_groups_gives_each_rank_its_components_share(
    jobs: Jobs,
) -> None:
    jobs.write(
        "script.py",
        "from distributed import Client\n"
        "workers = Client().scheduler_info(n_workers=-1)['workers'].values()\n"
        "for one in sorted(workers, key=lambda one: one['name']):\n"
        "    print(one['name'], one['nthreads'], one['memory_limit'] >> 30)\n",
    )
    job = ["salloc", "-Q", "-n1", "-c1", "--mem=2G", ":", "-n1", "-c2", "--mem=3G"]

    line = (*job, "srun", "--het-group=0-1", "apptainer", "run", SIF, "script.py")
    done = jobs.start(*line).wait(stray=WAITS)

    assert done.returncode == 0, told(done)
    # Less what the scheduler, the client and the agents need; a node has far more.
    assert done.stdout == "0 1 1\n1 2 2\n", told(done)


def test_steps_on_single_components_of_a_job_are_clusters_of_their_own(
    jobs: Jobs,
) -> None:
    script = (
        "import socket; from distributed import Client; "
        "print(sorted(set(Client().run(socket.gethostname).values())))"
    )
    jobs.write("script.py", script)
    one = f"srun --het-group=%d apptainer run {SIF} --quiet script.py"
    both = f"{one % 0} & {one % 1} & wait"

    line = ("salloc", "-Q", "-n1", ":", "-n2", "sh", "-c", both)
    done = jobs.start(*line).wait(stray=WAITS)

    assert done.returncode == 0, told(done)
    assert sorted(done.stdout.splitlines()) == ["['c1']", "['c2']"], told(done)


@SPELLINGS
@pytest.mark.parametrize(
    ("second", "saw"),
    [
        (
            "--layout dedicated script.py",
            "c2 has --layout dedicated, and rank 0 has shared",
        ),
        ("--grace 9 script.py", "c2 has --grace 9.0, and rank 0 has 5.0"),
        ("other.py", "c2 is to run script other.py, and rank 0 script script.py"),
        ("--nthreads none script.py", "--nthreads = 'none'"),
    ],
    ids=["layout", "grace", "program", "wrong"],
)
def test_a_component_that_was_told_what_cannot_be_is_one_error(
    jobs: Jobs, srun: str, second: str, saw: str
) -> None:
    jobs.write("script.py", GROUPS)
    jobs.write("other.py", GROUPS)
    line = started(srun, "script.py", second)

    done = jobs.start(*line).wait(stray=WAITS)

    assert done.returncode in (2, 78), told(done)
    assert done.stderr.count("dask-runner: error:") == 1, told(done)
    assert f"dask-runner: error: {saw}" in done.stderr, told(done)


def test_a_forgotten_srun_in_a_job_of_components_names_all_groups(jobs: Jobs) -> None:
    jobs.write("script.py", GROUPS)
    line = ("salloc", "-Q", "-n1", ":", "-n1", "apptainer", "run", SIF, "script.py")

    done = jobs.start(*line).wait(stray=WAITS)

    assert done.returncode == 78, told(done)
    assert "srun --het-group=0-1 apptainer run" in done.stderr, told(done)


def test_tasks_of_one_step_may_have_options_of_their_own(jobs: Jobs) -> None:
    jobs.write("script.py", GROUPS)
    run = f"/usr/bin/apptainer run {SIF} --nthreads 1 --resources"
    multi = f"0 {run} cpu-like=2 script.py\n1-2 {run} gpu-like=1 script.py\n"
    jobs.write("multi.conf", multi)

    done = jobs.start("srun", "-N2", "-n3", "--multi-prog", "multi.conf").wait(
        stray=WAITS
    )

    assert done.returncode == 0, told(done)
    assert "0 1 {'cpu-like': 2.0}\n1 1 {'gpu-like': 1.0}\n" in done.stdout, told(done)
