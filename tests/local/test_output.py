"""What is printed is there while a job runs, and after each end of it."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sys
import termios
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.programs import BEGIN, WAIT, clean, script
from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from tests.conftest import DaskRunner
    from tests.running import Ended

#: Prints steps, and waits for a word after each.
STEPS = """
import os, time
from dask.distributed import Client

def step(n):
    print("task", n)
    return n

if __name__ == "__main__":
    client = Client()
    for n in range(3):
        print("step", client.submit(step, n).result())
        while not os.path.exists(f"go-{n}"):
            time.sleep(0.02)
"""

#: Has something to clean up, and no handler.
CLEANS = """
try:
    print("begun")
    time.sleep(600)
finally:
    print("cleaned up")
"""


def test_each_step_can_be_read_while_the_job_goes_on(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    run = dask_runner.start("-n", 2, script(tmp_path, STEPS), cwd=tmp_path)
    for n in range(3):
        run.wait_for(f"step {n}\n")
        run.wait_for(f"task {n}\n")
        (tmp_path / f"go-{n}").touch()
    clean(run.wait())


def test_a_python_below_a_command_prints_line_by_line_too(
    dask_runner: DaskRunner,
) -> None:
    code = "import time; print('line'); time.sleep(600)"
    run = dask_runner.start("--", "sh", "-c", f'python3 -c "{code}"; true')
    run.wait_for("line\n")
    run.signal(signal.SIGTERM)
    assert run.wait().status == 143


@pytest.mark.parametrize("ranks", [1, 3])
def test_sigterm_runs_finally_and_keeps_all_lines(
    dask_runner: DaskRunner, tmp_path: Path, ranks: int
) -> None:
    run = dask_runner.start("-n", ranks, script(tmp_path, BEGIN + CLEANS))
    run.wait_for("begun")
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert ended.status == 143
    assert ended.stdout == "begun\ncleaned up\n"
    assert "Traceback" not in ended.stderr


def test_sigterm_cancels_what_asyncio_runs_and_the_cluster_is_there_meanwhile(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    text = """
        import asyncio
        from dask.distributed import Client

        async def main():
            async with Client(asynchronous=True) as client:
                print("begun")
                try:
                    await asyncio.sleep(600)
                finally:
                    print("saved", await client.submit(sum, [1, 2]))

        asyncio.run(main())
        print("never")
        """
    run = dask_runner.start("-n", 2, script(tmp_path, text))
    run.wait_for("begun")
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert (ended.status, ended.stdout) == (143, "begun\nsaved 3\n"), ended


def test_a_script_whose_cluster_is_lost_ends_without_a_word_of_dasks(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    text = """
        with Client():
            try:
                print("begun")
                time.sleep(600)
            finally:
                print("cleaned up")
        """
    path = script(tmp_path, BEGIN + textwrap.dedent(text))
    run = dask_runner.start("-n", 2, path)
    run.wait_for("begun")
    os.kill(run.named("dask-scheduler")[0], signal.SIGKILL)
    ended = run.wait()
    assert (ended.status, ended.stdout) == (69, "begun\ncleaned up\n"), ended


def test_a_script_that_is_killed_keeps_its_lines(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    text = BEGIN + "for n in range(999): print(n)\n" + WAIT
    run = dask_runner.start("-n", 2, script(tmp_path, text))
    run.wait_for("begun")
    until(lambda: run.named("dask-client"))
    for pid in run.named("dask-client"):
        os.kill(pid, signal.SIGKILL)
    ended = run.wait()
    assert ended.status == 137
    assert ended.stdout.split() == [*map(str, range(999)), "begun"]


def test_a_process_that_the_script_forks_ends_by_sigterm_itself(
    dask_runner: DaskRunner,
) -> None:
    text = """
        import multiprocessing, time

        if __name__ == "__main__":
            child = multiprocessing.get_context("fork").Process(
                target=time.sleep, args=[600]
            )
            child.start()
            child.terminate()
            child.join()
            print(child.exitcode)
        """
    ended = clean(dask_runner("-c", textwrap.dedent(text)))
    assert ended.stdout == "-15\n"


def test_a_script_that_goes_on_after_sigterm_is_ended_after_its_grace(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    text = """
        print("begun")
        while True:
            try:
                time.sleep(600)
            except BaseException:
                print("goes on")
        """
    path = script(tmp_path, BEGIN + textwrap.dedent(text))
    run = dask_runner.start("--grace", 1, path)
    run.wait_for("begun")
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert (ended.status, ended.stdout) == (143, "begun\ngoes on\n")


# --- labels --------------------------------------------------------------------

#: Each worker prints in each way; the script prints too.
WAYS = """
import os, sys
from dask.distributed import Client

def prints(n):
    print("print", n)
    print("error", n, file=sys.stderr)
    os.write(1, b"written\\n")
    os.system("echo below; printf half")

if __name__ == "__main__":
    client = Client()
    client.run(prints, 1)
    print("script")
"""


def labelled(text: str, name: str) -> list[str]:
    start = f"[{name}] "
    lines = text.splitlines()
    return [line.removeprefix(start) for line in lines if line.startswith(start)]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("-n", 2), ("0", "1")),
        (("--nworkers", 2), ("0", "0-1")),
        (("--label",), ("0",)),
        (("-n", 2, "--no-nanny"), ("0", "1")),
    ],
    ids=str,
)
def test_what_workers_print_has_their_name_in_each_line(
    dask_runner: DaskRunner,
    tmp_path: Path,
    options: tuple[str | int, ...],
    names: tuple[str, ...],
) -> None:
    path = script(tmp_path, WAYS)
    ended = dask_runner(*options, path, stray=r"\[\S+\] error 1")
    assert ended.status == 0, ended
    for name in names:
        out = labelled(ended.stdout, name)
        assert out == ["print 1", "written", "below", "half"], ended
        assert labelled(ended.stderr, name) == ["error 1"], ended
    lines = ended.stdout.splitlines()
    assert [line for line in lines if not line.startswith("[")] == ["script"]


@pytest.mark.parametrize(
    "options", [(), ("-n", 2, "--no-label")], ids=["one worker", "--no-label"]
)
def test_without_labels_the_lines_are_as_they_were(
    dask_runner: DaskRunner, tmp_path: Path, options: tuple[str | int, ...]
) -> None:
    ended = dask_runner(*options, script(tmp_path, WAYS), stray="error 1")
    assert ended.status == 0, ended
    assert "print 1\n" in ended.stdout
    assert "[" not in ended.stdout


#: All workers print numbered lines for ever, of a length that no pipe keeps together.
FLOWS = """
import os, sys, time
from dask.distributed import Client, get_worker

def flow(n):
    import itertools
    name = get_worker().name
    for n in itertools.count():
        sys.stdout.write(f"{name} {n} {'.' * 90}\\n")
        time.sleep(0.0005)

if __name__ == "__main__":
    client = Client()
    flowing = client.map(flow, range(2), pure=False)
    print("begun")
    time.sleep(600)
"""


def flowing(dask_runner: DaskRunner, tmp_path: Path) -> Run:
    path = script(tmp_path, FLOWS)
    run = dask_runner.start("-n", 2, "--nthreads", 1, path)
    for name in "01":
        run.wait_for(f"\n[{name}] {name} 200 ")
    return run


def assert_nothing_is_torn(ended: Ended) -> None:
    """Check that all lines of each worker are whole, and each follows the last."""
    seen: dict[str, int] = {}
    for line in ended.stdout.splitlines():
        if line == "begun":
            continue
        found = re.fullmatch(r"\[(\S+)\] \1 (\d+) \.{90}", line)
        assert found, (line, ended.status, ended.stderr)
        name, number = found[1], int(found[2])
        # A worker that is started again begins anew.
        assert number in {0, seen.get(name, -1) + 1}, (line, ended.stderr)
        seen[name] = number
    assert len(seen) == 2, ended.stderr


@pytest.mark.parametrize(
    ("victim", "status"),
    [
        ("dask-worker", 143),
        ("dask-agent", 69),
        ("dask-scheduler", 69),
        ("dask-client", 137),
    ],
)
def test_no_line_is_torn_or_lost_where_a_process_is_killed(
    dask_runner: DaskRunner, tmp_path: Path, victim: str, status: int
) -> None:
    run = flowing(dask_runner, tmp_path)
    os.kill(run.named(victim)[0], signal.SIGKILL)
    if status == 143:
        # The worker is started again.
        until(lambda: len(re.findall(r"] \d 0 \.", run.stdout)) > 2)
        run.signal(signal.SIGTERM)
    ended = run.wait(stray=".*")
    assert ended.status == status, ended.stderr
    assert_nothing_is_torn(ended)


def test_a_carrier_that_is_killed_costs_the_labels_and_no_task(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    run = flowing(dask_runner, tmp_path)
    os.kill(run.named("dask-carrier")[0], signal.SIGKILL)
    run.wait_for("goes on without labels: its carrier was killed by SIGKILL")
    until(lambda: all(len(bare(run.stdout, name)) > 200 for name in "01"))
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert ended.status == 143
    assert "KilledWorker" not in ended.stderr
    for name in "01":
        # The carrier itself may have had a piece of each.
        numbers = bare(ended.stdout, name)
        assert numbers == [*range(numbers[0], numbers[-1] + 1)]


def bare(stdout: str, name: str) -> list[int]:
    """Return the numbers of a worker's lines without a label."""
    lines = rf"^{name} (\d+) \.{{90}}$"
    return [int(number) for number in re.findall(lines, stdout, re.MULTILINE)]


def test_no_line_is_torn_or_lost_where_the_leader_is_killed(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    run = flowing(dask_runner, tmp_path)
    parents = {int(_field(pid, "PPid")) for pid in run.named("dask-agent")}
    for pid in parents:
        os.kill(pid, signal.SIGKILL)
    ended = run.wait(stray=".*")
    assert ended.status != 0
    assert_nothing_is_torn(ended)


def _field(pid: int, name: str) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(
        line.split()[1] for line in status.splitlines() if line.startswith(name)
    )


#: Two workers print 100 MB; the script goes on when it is told.
FLOOD = """
import sys
from dask.distributed import Client

def flood(lines):
    for n in range(lines):
        print("." * 99)
    return lines

if __name__ == "__main__":
    client = Client()
    print("all", sum(client.gather(client.map(flood, [500_000] * 2, pure=False))))
    time.sleep(600)
"""


def test_a_flood_fills_no_memory_and_holds_up_no_sign_of_life(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(tmp_path, "import time\n" + FLOOD)
    run = dask_runner.start("-n", 2, "--nthreads", 1, "--silence", 3, path)
    out = run.directory / "stdout"
    until(lambda: _last(out) == b"all 1000000\n", 100, lambda: run.stderr)
    agents = run.named("dask-agent")
    leaders = {int(_field(pid, "PPid")) for pid in agents}
    for pid in (*leaders, *run.named("dask-carrier")):
        assert int(_field(pid, "VmHWM")) < 100_000  # KiB
    run.signal(signal.SIGTERM)
    run.process.wait(60)
    assert run.process.returncode == 143
    assert "lost" not in run.stderr
    with out.open("rb") as file:
        assert sum(line.endswith(b"] " + b"." * 99 + b"\n") for line in file) == 10**6


def _last(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 12))
        return file.read()


def test_a_job_whose_output_nobody_reads_ends_all_the_same(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reads = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    path = script(tmp_path, "import time\n" + FLOOD)
    line = f"exec {DASK_RUNNER} -n 2 {path} >{fifo}"
    with Run(("sh", "-c", line)) as run:
        # Full: those who print wait.
        until(lambda: _waiting_in(reads) >= 1 << 15)
        run.signal(signal.SIGTERM)
        assert run.wait().status == 143
    os.close(reads)


def _waiting_in(pipe: int) -> int:
    size = fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4)
    return int.from_bytes(size, sys.byteorder)
