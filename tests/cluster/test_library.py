"""The library's ways in, in the image: ``srun apptainer exec SIF python script.py``."""

from tests.cluster.jobs import SIF, SINGLETONS, Jobs, told
from tests.programs import INITIALIZE

# As it stands in other projects' documents; only the import line is ours.
BODY = """\
    with Client(runner) as client:
        client.wait_for_workers(runner.n_workers)
        assert client.submit(lambda x: x + 1, 10).result() == 11
        assert client.submit(lambda x: x + 1, 20, workers=2).result() == 21
        print("ran with", runner.n_workers)
"""

MPI = (
    """\
from distributed import Client
from dask_runner import MPIRunner
with MPIRunner() as runner:
"""
    + BODY
)

SLURM = (
    """\
from distributed import Client
from dask_runner import SlurmRunner
with SlurmRunner(scheduler_file="{directory}/scheduler-{{job_id}}.json") as runner:
"""
    + BODY
)


def test_the_runner_for_slurm_meets_by_the_file_that_is_named(jobs: Jobs) -> None:
    jobs.write("script.py", SLURM.format(directory=jobs.directory))

    done = jobs.python("-N2 -n4", "script.py").wait()

    assert (done.returncode, done.stdout) == (0, "ran with 2\n"), told(done)


def test_the_runner_for_mpi_runs_under_srun(jobs: Jobs) -> None:
    jobs.write("script.py", MPI)

    done = jobs.python("-N2 -n4 --mpi=pmix", "script.py").wait()

    assert (done.returncode, done.stdout) == (0, "ran with 2\n"), told(done)


def test_the_runner_for_mpi_runs_under_mpiexec(jobs: Jobs) -> None:
    jobs.write("script.py", MPI)
    line = ("salloc", "-N2", "-n4", "mpiexec.openmpi", "-n", "4")

    done = jobs.start(*line, "apptainer", "exec", SIF, "python", "script.py").wait(
        stray="salloc: .*"
    )

    assert (done.returncode, done.stdout) == (0, "ran with 2\n"), told(done)


def test_the_runner_for_mpi_refuses_a_world_that_is_not_the_launchers(
    jobs: Jobs,
) -> None:
    jobs.write("script.py", MPI)

    done = jobs.python("-N2 -n4 --mpi=none", "script.py").wait(leaves=SINGLETONS)

    assert done.returncode == 78, told(done)
    assert "MPI sees a world of 1" in done.stderr, told(done)
    assert "srun --mpi=pmix" in done.stderr, told(done)


def test_initialize_is_what_users_of_dask_mpi_expect(jobs: Jobs) -> None:
    asks = "print(sorted(client.run(lambda: 1, workers=None).values()))\n"
    jobs.write("script.py", INITIALIZE + asks)

    done = jobs.python("-N2 -n4 --mpi=pmix", "script.py").wait()

    assert done.returncode == 0, told(done)
    assert done.stdout == "[3, 2, 1]\n" * 3 + "[1, 1]\n", told(done)


EXECUTE = """\
from dask_runner import execute
from distributed import Client

def work(x, y):
    with Client() as client:
        return client.submit(pow, x, y).result()

value = execute(work, (2,), {"y": 10}, client_rank=0, exclusive_workers=False)
if value is not None:
    print(value)
"""


def test_execute_runs_a_function_in_the_clients_rank(jobs: Jobs) -> None:
    jobs.write("script.py", EXECUTE)

    done = jobs.python("-N2 -n2", "script.py").wait()

    assert (done.returncode, done.stdout) == (0, "1024\n"), told(done)


ASYNC = """\
import asyncio
from distributed import Client
from dask_runner import SlurmRunner

async def main():
    async with SlurmRunner(asynchronous=True) as runner:
        async with Client(runner, asynchronous=True) as client:
            print(await client.submit(pow, 2, 10), runner.n_workers)

asyncio.run(main())
"""


def test_a_runner_is_an_async_context_manager(jobs: Jobs) -> None:
    jobs.write("script.py", ASYNC)

    done = jobs.python("-N2 -n3", "script.py").wait()

    assert (done.returncode, done.stdout) == (0, "1024 1\n"), told(done)


# A system that dask_runner does not know, and all that it has to be told: each
# process's place from the variables of that system, and how rank 0 gives a text to
# all, here by an address that the system announces. This is documentation too.
UNKNOWN = """\
import os, socket, time
from distributed import Client
from dask_runner import BaseRunner, World

PORT = 50_321


class GridRunner(BaseRunner):
    def world(self, environ):
        return World(
            launcher="grid",
            rank=int(environ["GRID_INDEX"]),
            size=int(environ["GRID_COUNT"]),
            local_rank=None,
            local_size=None,
            job_id=environ["GRID_JOB"],
            key="grid-" + environ["GRID_JOB"],
            meeting="exchange",
        )

    def exchange(self, text):
        size, leader = int(os.environ["GRID_COUNT"]), os.environ["GRID_LEADER"]
        if text is not None:
            with socket.create_server(("", PORT), backlog=size) as server:
                for _ in range(size - 1):
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(text.encode())
            return text
        deadline = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection((leader, PORT), timeout=60) as connection:
                    return connection.makefile().read()
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


with GridRunner(layout="shared") as runner, Client(runner) as client:
    print(runner.rank, runner.n_workers, client.submit(pow, 2, 10, workers=2).result())
"""


def test_a_system_that_is_not_known_needs_a_subclass_of_a_few_lines(
    jobs: Jobs,
) -> None:
    jobs.write("script.py", UNKNOWN)
    # No variable of Slurm's gets in; env is where that system's come from.
    jobs.write(
        "start.sh",
        "exec env -u SLURM_PROCID -u SLURM_STEP_ID -u SLURM_JOB_ID "
        "GRID_INDEX=$SLURM_PROCID GRID_COUNT=$SLURM_NTASKS GRID_JOB=$SLURM_JOB_ID "
        f"GRID_LEADER=c1 apptainer exec {SIF} python script.py\n",
    )

    done = jobs.start("srun", "-N2", "-n3", "bash", "start.sh").wait()

    assert (done.returncode, done.stdout) == (0, "0 3 1024\n"), told(done)


def test_only_the_clients_rank_goes_on_and_its_status_is_the_jobs(
    jobs: Jobs,
) -> None:
    jobs.write(
        "script.py",
        "from dask_runner import Runner\n"
        "with Runner() as runner:\n"
        "    print('rank', runner.rank)\n"
        "    raise SystemExit(3)\n",
    )

    done = jobs.python("-N2 -n2", "script.py").wait()

    assert (done.returncode, done.stdout) == (3, "rank 0\n"), told(done)
