"""What becomes of a job when something below its ranks dies, or cannot begin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner.meeting.cluster_directory import REFRESH_SECONDS
from dask_runner.meeting.record_directory import LOCAL_PREFIX
from dask_runner.node.directory import PREFIX
from tests.programs import BEGIN, UNTIL_TOLD, clean, script
from tests.running import DASK_RUNNER, Run, not_root
from tests.waiting import until

if TYPE_CHECKING:
    from tests.conftest import Require
    from tests.running import DaskRunner, Ended

#: Says whether the workers are those that it has begun with, and lets them work.
BEGUN = f"""{BEGIN}
before = sorted(client.run(os.getpid).values())
{UNTIL_TOLD}"""
WORKS = """
client.wait_for_workers(len(before), 60)
after = sorted(client.run(os.getpid).values())
print("same" if after == before else "others", len(after))
print(sum(client.gather(client.map(lambda x: 2 * x, range(10)))))
"""


def go(run: Run) -> Ended:
    (run.cwd / "go").touch()
    return run.wait(makes=("go",))


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGSEGV, 37], ids=["KILL", "SEGV", "37"]
)
def test_workers_outlive_their_fork_server_and_one_that_dies_has_another(
    dask_runner: DaskRunner, number: int
) -> None:
    run = dask_runner.start("-n", 2, "-c", BEGUN + WORKS)
    run.wait_for("begun")
    (server,) = run.named("dask-forkserver")
    workers = run.named("dask-worker")
    os.kill(server, number)
    until(lambda: run.named("dask-forkserver") not in ([], [server]))
    assert run.named("dask-worker") == workers
    # One whose parent is gone, and whose status nobody waits for.
    os.kill(workers[0], number)
    run.wait_for("it is started again")
    until(lambda: len(set(run.named("dask-worker")) - {workers[0]}) == 2)

    ended = go(run)

    assert ended.status == 0, ended
    assert ended.stdout == "begun\nothers 2\n90\n"
    name = signal.Signals(number).name if number != 37 else "signal 37"
    assert f"its fork server was killed by {name}; its workers go on" in ended.stderr
    assert ended.stderr.count(f"was killed by {name}; it is started again") == 1


def test_a_fork_server_that_stands_still_is_replaced(dask_runner: DaskRunner) -> None:
    run = dask_runner.start("-n", 1, "--silence", 2, "-c", BEGUN + WORKS)
    run.wait_for("begun")
    (server,) = run.named("dask-forkserver")
    os.kill(server, signal.SIGSTOP)
    run.wait_for("its fork server was killed by SIGKILL")
    ended = go(run)
    assert ended.status == 0, ended
    assert ended.stdout == "begun\nsame 1\n90\n"


def test_nobody_hears_of_a_resource_tracker_that_is_killed(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start("-n", 2, "-c", BEGUN + WORKS)
    run.wait_for("begun")
    (tracker,) = run.named("dask-tracker")
    os.kill(tracker, signal.SIGKILL)
    (worker, _) = run.named("dask-worker")
    os.kill(worker, signal.SIGKILL)
    until(lambda: len(set(run.named("dask-worker")) - {worker}) == 2)
    ended = go(run)
    assert ended.status == 0, ended
    assert ended.stdout == "begun\nothers 2\n90\n"
    assert ended.stderr.count("warning: ") == 1, ended


#: Is killed while the resource tracker has something of it.
LEAVES = """
import multiprocessing, os, signal, sys
from dask_runner.programs import resource_tracker
resource_tracker.protect()
if "fork" in sys.argv:
    resource_tracker.fork()
lock = multiprocessing.get_context("spawn").Lock()
print(lock._semlock.name, os.path.exists(f"/dev/shm/sem.{lock._semlock.name[1:]}"))
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["fork", "later"])
def test_a_resource_tracker_removes_what_the_killed_have_left_and_says_nothing(
    how: str,
) -> None:
    # It has the same stderr, so this waits for its end as well.
    done = subprocess.run(
        [sys.executable, "-c", LEAVES, how], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    name, was = done.stdout.split()
    assert was == "True"
    assert not Path("/dev/shm", f"sem.{name[1:]}").exists()


def test_a_job_whose_workers_die_again_and_again_ends_and_says_of_what(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    preload = script(
        tmp_path,
        """
        import os, signal, threading, time

        def die():
            while not os.path.exists("go"):
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGSEGV)

        def dask_setup(worker):
            threading.Thread(target=die, daemon=True).start()
        """,
        "die.py",
    )
    code = f"{BEGIN}open('go', 'w').close()\nclient.submit(time.sleep, 600).result()\n"
    args = ("-n", 2, "--timeout", 12, "--preload", preload, "-c", code)
    # Dask's client gives up a task that kills its workers; this one has no time to.
    ended = dask_runner(*args, makes=("go",), stray=".*")
    assert ended.status in {1, 69}, ended
    assert ended.stderr.count("was killed by SIGSEGV; it is started again") <= 6
    if ended.status == 69:
        assert "no worker has come to stay for 12 s: worker " in ended.stderr
        assert ended.stderr.count("Traceback") == 0, ended


@pytest.mark.parametrize(
    ("preload", "status", "words"),
    [
        ("os.kill(os.getpid(), 11)", 69, "was killed by SIGSEGV while it started"),
        ("os._exit(3)", 78, "ended with status 3 while it started"),
        ("raise ValueError('no luck')", 78, "did not start: ValueError: no luck"),
    ],
)
def test_workers_that_cannot_begin_end_the_job_and_say_of_what(
    dask_runner: DaskRunner, tmp_path: Path, preload: str, status: int, words: str
) -> None:
    path = script(tmp_path, f"import os\n{preload}\n", "preload.py")
    ended = dask_runner("-n", 2, "--preload", path, "-c", "print('ran')")
    assert ended.status == status, ended
    assert words in ended.stderr
    assert ended.stderr.count("error: ") == 1, ended
    assert not ended.stdout


def test_a_worker_that_is_closed_as_it_starts_makes_no_noise(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    preload = script(
        tmp_path,
        """
        import os

        async def dask_setup(worker):
            if not os.path.exists("closed"):
                open("closed", "w").close()
                worker.loop.add_callback(worker.close)
        """,
        "closes.py",
    )
    code = f"{BEGIN}print(client.submit(sum, [1, 2]).result())"
    ended = dask_runner("--preload", preload, "-c", code, makes=("closed",))
    assert "Traceback" not in ended.stderr, ended


def test_a_long_path_of_temporary_files_is_no_matter(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 200)
    long.mkdir()
    code = f"{BEGIN}print(len(client.run(os.getpid)))"
    args = ("-n", 2, "--local-directory", long, "-c", code)
    ended = clean(dask_runner(*args, env={"TMPDIR": str(long)}))
    assert ended.stdout == "2\n"
    assert not list(long.iterdir())


def test_a_killed_leader_leaves_no_directory_of_ranks_that_have_not_begun(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    preload = script(
        tmp_path,
        """
        import asyncio, os

        async def dask_setup(scheduler):
            while not os.path.exists("go"):
                await asyncio.sleep(0.02)
        """,
        "waits.py",
    )
    env = {"DASK_DISTRIBUTED__SCHEDULER__PRELOAD": f"['{preload}']"}
    run = dask_runner.start("-n", 3, "-c", "print('ran')", env=env)

    def ranks_have_theirs() -> bool:
        made = (path.name for path in run.tmp.rglob("dask-runner-*"))
        return sum(not name.startswith(LOCAL_PREFIX) for name in made) == 3

    # No process outside of the ranks knows the names of these directories.
    until(ranks_have_theirs)
    # Its last fork is there, so that nothing else has the agent's name.
    until(lambda: len(run.named("dask-forkserver")) == 1)
    (agent,) = run.named("dask-agent")
    stat = (Path("/proc") / str(agent) / "stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
    assert go(run).status == 137


#: Kills the first process that opens a directory whose path looks so.
KILLS = """
import os, re, sys
own, looks, killed = os.getpid(), os.environ["KILLS"], os.environ["KILLED"]
def hook(event, told):
    if event != "open" or os.getpid() != own:
        return
    path, _, flags = told
    if not flags & os.O_DIRECTORY or not re.search(looks, str(path)):
        return
    try:
        os.mkdir(killed)
    except FileExistsError:
        return
    os.kill(own, 9)
sys.addaudithook(hook)
"""


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param(f"/{LOCAL_PREFIX}", id="launcher"),  # its ranks have just begun
        pytest.param(f"/{PREFIX}(?!local)", id="leader"),  # it has just made its own
    ],
)
def test_nothing_stays_of_who_is_killed_at_its_worst_moment(
    dask_runner: DaskRunner, tmp_path: Path, looks: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(KILLS)
    killed = tmp_path / "killed"
    env = {"PYTHONPATH": str(tmp_path), "KILLS": looks, "KILLED": str(killed)}
    code = "import time; time.sleep(600)"
    assert dask_runner("-n", 2, "-c", code, env=env).status == 137
    assert killed.exists()


#: Begins in a namespace of its own, in which nobody can write to /dev/shm.
WITHOUT_SHM = """\
mount -t tmpfs -o ro none /dev/shm && exec "$@"
"""


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_dev_shm_of_no_use_is_named_with_what_to_do(
    require: Require, ranks: int
) -> None:
    line = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", WITHOUT_SHM)
    with require("namespaces of users", "local"):
        subprocess.run((*line, "sh", "true"), check=True, capture_output=True)
    run = Run((*line, "sh", str(DASK_RUNNER), "-n", str(ranks), "-c", "print('ran')"))
    try:
        ended = run.wait()
    finally:
        run.discard()
    assert ended.status == 78, ended
    assert "no semaphore can be made in /dev/shm: Read-only" in ended.stderr
    assert "you can: give the container one" in ended.stderr
    assert ended.stderr.count("error: ") == 1, ended


def test_workers_without_nannies_need_no_dev_shm(require: Require) -> None:
    line = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", WITHOUT_SHM)
    with require("namespaces of users", "local"):
        subprocess.run((*line, "sh", "true"), check=True, capture_output=True)
    code = f"{BEGIN}print(client.submit(sum, [1, 2]).result())"
    run = Run((*line, "sh", str(DASK_RUNNER), "-n", "2", "--no-nanny", "-c", code))
    try:
        ended = clean(run.wait())
    finally:
        run.discard()
    assert ended.stdout == "3\n"


@pytest.mark.parametrize(("ranks", "processes"), [(1, 8), (2, 8), (2, 12), (4, 8)])
def test_too_few_processes_are_named_with_what_to_do(
    require: Require, ranks: int, processes: int
) -> None:
    become = not_root(require)
    limit = ("prlimit", f"--nproc={processes}")
    args = (str(DASK_RUNNER), "-n", str(ranks), "-c", "print('ran')")
    run = Run((*become, *limit, *args))
    try:
        ended = run.wait()
    finally:
        run.discard()
    assert ended.status == 78, ended
    # Who hears it first depends on how many there are at that moment.
    assert "Resource temporarily unavailable" in ended.stderr
    assert f"(ulimit -u: {processes})" in ended.stderr
    assert "you can: raise that limit" in ended.stderr
    assert ended.stderr.count("error: ") == 1, ended


#: Leaves no process and no thread to anybody but the script, and kills a worker.
AT_THE_LIMIT = f"""{BEGIN}
import resource, signal, time
client.gather(client.map(lambda x: time.sleep(0.3), range(8)))  # all have their threads
mine = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
for pid in mine:
    try:
        if os.stat(f"/proc/{{pid}}").st_uid == os.getuid() and pid != os.getpid():
            hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
            resource.prlimit(pid, resource.RLIMIT_NPROC, (1, hard))
    except FileNotFoundError:
        pass  # it has ended
for pid in list(client.run(os.getpid).values())[:int(os.environ["KILLED"])]:
    os.kill(pid, signal.SIGKILL)
"""


def at_the_limit(require: Require, killed: int, then: str) -> Ended:
    args = ("-n", "2", "--nthreads", "1", "--timeout", "10", "-c", AT_THE_LIMIT + then)
    environ = {"KILLED": str(killed)}
    run = Run((*not_root(require), str(DASK_RUNNER), *args), env=environ)
    try:
        return run.wait()
    finally:
        run.discard()


def test_a_cluster_without_workers_at_the_limit_of_processes_says_so(
    require: Require,
) -> None:
    ended = at_the_limit(require, 2, "print(client.submit(sum, [1, 2]).result())")
    assert ended.status == 69, ended
    assert "Resource temporarily unavailable" in ended.stderr
    assert "(ulimit -u: 1)" in ended.stderr
    assert ended.stderr.count("error: ") == 1, ended
    assert "Traceback" not in ended.stderr


def test_a_cluster_at_the_limit_of_processes_goes_on_with_the_workers_it_has(
    require: Require,
) -> None:
    # Longer than the cluster's name is left as it is.
    then = f"time.sleep({REFRESH_SECONDS + 2}); print(client.submit(len, [1]).result())"
    ended = at_the_limit(require, 1, then)
    assert (ended.status, ended.stdout) == (0, "1\n"), ended
    assert "Traceback" not in ended.stderr
