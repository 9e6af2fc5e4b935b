"""The limit of open files: raised for our processes, not for what they start."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from tests.programs import clean, script
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.running import Ended

#: Begins with a limit, as a user's shell may have it.
LIMITED = 'ulimit -Sn "$0" && exec "$@"'

#: Prints the limits of this process and of what it starts, in each way.
LIMITS = """\
import concurrent.futures, multiprocessing, os, resource, subprocess
from distributed import Client

LINE = "ulimit -Sn"
PYTHON = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"

def own(*_):
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

def output(*args, **how):
    done = subprocess.run(*args, **how, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)

def forked():
    read, write = os.pipe()
    if not (pid := os.fork()):
        os.write(write, str(own()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with open(read) as file:
        return int(file.read())

def many():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return set(pool.map(lambda _: output(LINE, shell=True), range(40)))

def busy():
    # More files than half the limit: other threads could come to feel a lower one.
    files = [open(os.devnull) for _ in range(90)]
    child = subprocess.Popen(["sleep", "60"])
    try:
        return resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[0]
    finally:
        child.kill(), child.wait(), [file.close() for file in files]

def chosen():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (777, before[1]))
    try:
        return output(LINE, shell=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

def started():
    return {
        "shell": output(LINE, shell=True),
        "spawned": output(["/bin/sh", "-c", LINE], close_fds=False),
        "with a function": output([SH, "-c", LINE], preexec_fn=os.setpgrp),
        "system": os.waitstatus_to_exitcode(os.system('exit "$(ulimit -Sn)"')),
        "bytes": os.waitstatus_to_exitcode(os.system(b'exit "$(ulimit -Sn)"')),
        "forked": forked(),
        "many": many(),
        "busy": busy(),
        "chosen": chosen(),
    }

SH = "/bin/sh"

if __name__ == "__main__":
    client = Client()
    print("script", own())
    print("below the script", sorted({str(v) for v in started().values()}))
    print("task", client.submit(own).result())
    print("below a task", client.submit(started).result())
    print("scheduler", client.run_on_scheduler(own))
    print("below the scheduler", client.run_on_scheduler(started))
    print("nannies", *client.run(own, nanny=True).values())
"""

#: Adds so many workers to the cluster, from a few processes, and uses them.
CROWD = """\
import asyncio, contextlib, os, resource, subprocess, sys
from distributed import Client, Worker

EACH = 50

async def serve(first, count):
    async with contextlib.AsyncExitStack() as stack:
        own = {"nthreads": 1, "memory_limit": 0, "dashboard_address": "127.0.0.1:0"}
        names = [f"crowd-{number}" for number in range(first, first + count)]
        address = os.environ["DASK_SCHEDULER_ADDRESS"]
        # As a nanny's child would; several in a process are no real workers.
        await asyncio.gather(
            *(
                stack.enter_async_context(Worker(address, name=name, **own))
                for name in names
            )
        )
        await asyncio.to_thread(sys.stdin.read)

def main(count):
    me, everyone = [sys.executable, __file__], []
    for first in range(0, count, EACH):
        words = [*me, "serve", str(first), str(min(EACH, count - first))]
        everyone.append(subprocess.Popen(words, stdin=subprocess.PIPE))
    try:
        with Client(timeout=120) as client:
            client.wait_for_workers(count + 1, timeout=240)
            workers = [f"crowd-{number}" for number in range(count)]
            each = [client.submit(str, n, workers=n, pure=False) for n in workers]
            print("each", client.gather(each) == workers)
            print("sum", client.submit(sum, client.map(int, range(4 * count))).result())
            print("broadcast", len(client.run(os.getpid)))
        with Client(direct_to_workers=True) as direct:
            each = [direct.submit(str, n, workers=n, pure=False) for n in workers]
            print("direct", direct.gather(each) == workers)
    finally:
        for one in everyone:
            one.stdin.close()
        for one in everyone:
            one.wait()

if __name__ == "__main__":
    if sys.argv[1] == "serve":
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        asyncio.run(serve(*map(int, sys.argv[2:])))
    else:
        main(int(sys.argv[1]))
"""


def limited(limit: int, *args: object, timeout: float = 300) -> Ended:
    words = ("sh", "-c", LIMITED, str(limit), str(DASK_RUNNER), *map(str, args))
    with Run(words, timeout=timeout) as run:
        return run.wait(stray=".*")


def test_what_tasks_and_the_script_start_has_the_users_limit(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    ended = clean(limited(123, "-n", 2, script(tmp_path, LIMITS)))
    said = dict(
        line.split(" ", 1) for line in ended.stdout.splitlines() if "below" not in line
    )
    assert said.pop("nannies").split() == [said["task"]] * 2
    assert said == {"script": "123", "task": said["task"], "scheduler": said["task"]}
    assert 123 < int(said["task"]) <= hard
    below = [line for line in ended.stdout.splitlines() if "below" in line]
    ways = (
        "{'shell': 123, 'spawned': 123, 'with a function': 123, 'system': 123, "
        "'bytes': 123, 'forked': 123, 'many': {123}, 'busy': 123, 'chosen': 777}"
    )
    assert below == [
        "below the script ['123', '777', '{123}']",
        f"below a task {ways}",
        f"below the scheduler {ways}",
    ]


def test_a_worker_without_a_nanny_and_a_command_have_the_users_limit_below(
    tmp_path: Path,
) -> None:
    path = script(tmp_path, LIMITS)
    ended = limited(123, "--no-nanny", "--nworkers", 2, path)
    # Two of them are in one process: what is lowered once stays so.
    assert "below a task {'shell': 123" in ended.stdout, ended
    command = clean(limited(123, "--", "sh", "-c", "ulimit -Sn"))
    assert command.stdout == "123\n"


def crowd(tmp_path: Path, limit: int, count: int) -> None:
    path = script(tmp_path, CROWD)
    ended = limited(limit, "--no-dashboard", path, count, timeout=600)
    total = 4 * count
    assert ended.status == 0, ended
    assert ended.stdout.splitlines() == [
        "each True",
        f"sum {total * (total - 1) // 2}",
        f"broadcast {count + 1}",
        "direct True",
    ]
    assert "Too many open files" not in ended.stderr, ended


def test_more_workers_than_the_users_limit_has_files_for(tmp_path: Path) -> None:
    crowd(tmp_path, limit=120, count=60)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_four_hundred_workers_with_the_usual_limit(tmp_path: Path) -> None:
    crowd(tmp_path, limit=1024, count=400)
