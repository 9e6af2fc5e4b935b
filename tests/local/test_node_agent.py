"""One agent a node imports Dask; all else of the node is forked from it."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.programs import BEGIN, WAIT, clean
from tests.ranks import RunnerJob
from tests.running import DaskRunner

# Work that goes on until every worker has done some of it.
WORK = """
def where(number):
    time.sleep(0.02)
    return os.getpid()
deadline = time.monotonic() + 30
while len(set(client.gather(client.map(where, range(40), pure=False)))) < 2:
    assert time.monotonic() < deadline
print("done")
"""


def test_dask_is_imported_by_one_process_of_the_node(dask_runner: DaskRunner) -> None:
    run = dask_runner.start("-n", 4, "-c", BEGIN + WAIT)
    run.wait_for("begun", 60)
    (agent,) = run.named("dask-agent")
    for role, count in {"scheduler": 1, "client": 1, "worker": 4}.items():
        forks = run.named(f"dask-{role}")
        assert len(forks) == count
        # A fork has the memory map of the process that it was forked from.
        assert {_program(pid) for pid in forks} == {_program(agent)}
    run.signal(signal.SIGTERM)
    assert run.wait().status == 143


def test_the_ranks_of_a_runner_share_an_agent(tmp_path: Path) -> None:
    with RunnerJob(tmp_path) as job:
        second, first = job.rank(1, "stay"), job.rank(0, "stay")
        first.wait_for("begun", 60)
        agents = [len(run.named("dask-agent")) for run in (first, second)]
        workers = [len(run.named("dask-worker")) for run in (first, second)]
        assert (agents, workers) == ([1, 0], [2, 0])
        first.signal(signal.SIGTERM)
        assert (first.wait().status, second.wait().status) == (143, 0)


def test_a_runner_whose_leader_loses_its_agent_says_so_of_both_ranks(
    tmp_path: Path,
) -> None:
    with RunnerJob(tmp_path) as job:
        second, first = job.rank(1, "stay"), job.rank(0, "stay")
        first.wait_for("begun", 60)
        (agent,) = first.named("dask-agent")
        os.kill(agent, signal.SIGKILL)
        ended = first.wait()
        assert ended.status == 69, ended
        # On a busy machine the two are told one after the other.
        what = r"lost ranks? ([\d, ]+) on \S+: its node agent was killed by SIGKILL"
        lost = ", ".join(re.findall(what, ended.stderr))
        assert sorted(lost.split(", ")) == ["0", "1"], ended
        assert second.wait().status == 0


def _program(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_modules_to_preload_are_shared_and_random_numbers_are_not(
    dask_runner: DaskRunner,
) -> None:
    code = """
def look():
    here = "xml.dom.minidom" in sys.modules
    import numpy
    return here, float(numpy.random.random())
seen = client.run(look)
assert all(here for here, _ in seen.values()), seen
assert len({number for _, number in seen.values()}) == 3, seen
"""
    names = "xml.dom.minidom,numpy"
    ended = dask_runner("-n", 3, "--preload-modules", names, "-c", BEGIN + code)
    assert ended.status == 0, ended


def test_a_module_to_preload_that_is_not_there_is_named(
    dask_runner: DaskRunner,
) -> None:
    ended = dask_runner("-n", 2, "--preload-modules", "nowhere", "-c", "print(1)")
    assert ended.status == 78, ended
    assert ended.stderr.count("error: ") == 1, ended
    assert "nowhere of --preload-modules" in ended.stderr
    assert not ended.stdout


def test_all_workers_hash_alike(dask_runner: DaskRunner) -> None:
    code = """
import dask.bag
words = ["a", "b", "c", "d"] * 25
pairs = dask.bag.from_sequence(words, npartitions=10).groupby(lambda word: word)
found = {word: len(list(group)) for word, group in pairs.compute(scheduler=client.get)}
assert found == dict.fromkeys("abcd", 25), found
assert "PYTHONHASHSEED" not in os.environ
"""
    ended = dask_runner("-n", 3, "-c", BEGIN + code)
    assert ended.status == 0, ended


def test_what_tasks_print_is_printed(dask_runner: DaskRunner) -> None:
    code = """
def speak():
    print("aloud", flush=True)
    print("in anger", file=sys.stderr, flush=True)
client.submit(speak).result()
"""
    ended = dask_runner("-n", 2, "-c", BEGIN + code, stray=r"\[\d] in anger")
    assert ended.status == 0, ended
    name, said = ended.stdout.split(maxsplit=1)
    assert (name in {"[0]", "[1]"}, said) == (True, "aloud\n")
    assert f"{name} in anger\n" in ended.stderr


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "was killed by SIGKILL; it is started again"),
        (signal.SIGSTOP, "(it was stopped and not continued); it is started again"),
    ],
    ids=["killed", "stopped"],
)
def test_a_worker_that_is_lost_is_named_and_started_again(
    dask_runner: DaskRunner, number: signal.Signals, words: str
) -> None:
    code = f"""
pids = client.run(os.getpid)
os.kill(next(iter(pids.values())), {int(number)})
""" + WORK.replace(
        "< 2", "< 2 or not set(client.run(os.getpid).values()) - set(pids.values())"
    )
    ended = dask_runner("-n", 2, "--silence", 2, "-c", BEGIN + code)
    assert ended.status == 0, ended
    assert ended.stdout == "done\n"
    assert "warning: worker " in ended.stderr
    assert words in ended.stderr


def test_a_restart_that_the_script_asks_for_is_no_loss(
    dask_runner: DaskRunner,
) -> None:
    # One that stands still is killed, of which any other would be told.
    code = """
pids = client.run(os.getpid)
os.kill(next(iter(pids.values())), signal.SIGSTOP)
client.restart()
print(not set(client.run(os.getpid).values()) & set(pids.values()))
"""
    ended = clean(dask_runner("-n", 2, "-c", BEGIN + code))
    assert ended.stdout == "True\n"


def test_a_worker_that_outgrows_its_memory_is_named_with_what_to_do(
    dask_runner: DaskRunner,
) -> None:
    code = """
def grow():
    held = []
    while True:
        held.append(bytearray(20_000_000))
        time.sleep(0.02)
try:
    client.submit(grow).result()
except Exception as error:
    print(type(error).__name__)
"""
    args = ("-n", 1, "--nworkers", 1, "--memory-limit", "300MB")
    ended = dask_runner(*args, "-c", BEGIN + code)
    assert ended.status == 0, ended
    assert ended.stdout == "KilledWorker\n"
    assert "of its 286.1 MiB; you can: give it more memory" in ended.stderr


def test_an_idle_worker_gives_back_what_its_tasks_have_freed(
    dask_runner: DaskRunner,
) -> None:
    # Small objects between the blocks stay, so that no end of the heap becomes free.
    code = """
import sys
def fill():
    blocks, sys.kept = [], []
    for _ in range(100):
        blocks.append(bytearray(5_000_000))
        sys.kept.append(bytearray(20_000))
    blocks = None
    for _ in range(40):
        blocks = [bytearray(5_000_000) for _ in range(20)]
        sys.kept.append(bytearray(20_000))
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
(before,) = client.run(memory).values()
client.submit(fill).result()
last = time.monotonic() + 60
while sum(client.run(memory).values()) > before + 30e6 and time.monotonic() < last:
    time.sleep(0.1)
print(time.monotonic() < last)
"""
    ended = clean(dask_runner("-n", 1, "--nworkers", 1, "-c", BEGIN + code))
    assert ended.stdout == "True\n"


def test_a_killed_agent_ends_the_job_of_its_rank_0_and_is_named(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start("-n", 2, "-c", BEGIN + WAIT)
    run.wait_for("begun", 60)
    (agent,) = run.named("dask-agent")
    os.kill(agent, signal.SIGKILL)
    ended = run.wait()
    assert ended.status == 69, ended
    assert "its node agent was killed by SIGKILL" in ended.stderr


SAVE = """
import signal, sys, time
def save(number, frame):
    print("saved", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, save)
print("begun", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("variable", ["SLURM_JOB_END_TIME", "DASKRUNNER_JOB_END_TIME"])
@pytest.mark.parametrize(
    "program", [("-c", SAVE), ("--", sys.executable, "-c", SAVE)], ids=["-c", "--"]
)
def test_the_script_is_told_before_the_jobs_time_is_over(
    dask_runner: DaskRunner, program: tuple[str, ...], variable: str
) -> None:
    env = {variable: str(int(time.time()) + 600)}
    ended = dask_runner("-n", 2, "--stop-before", 588, *program, env=env)
    assert ended.status == 3, ended
    assert ended.stdout == "begun\nsaved\n"
    assert "SIGTERM to the script" in ended.stderr


def test_a_cluster_without_a_script_ends_before_its_job(
    dask_runner: DaskRunner,
) -> None:
    env = {"SLURM_JOB_END_TIME": str(int(time.time()) + 15)}
    ended = dask_runner("serve", "-n", 2, env=env)
    assert ended.status == 0, ended
    assert "the cluster ends" in ended.stderr


@pytest.mark.parametrize(
    ("env", "said"), [({}, "0"), ({"SLURM_RESTART_COUNT": "2"}, "2")]
)
@pytest.mark.parametrize(
    "program",
    [
        ("-c", "import os; print(os.environ['DASK_RUNNER_RESTART'])"),
        ("--", "sh", "-c", "echo $DASK_RUNNER_RESTART"),
    ],
    ids=["-c", "--"],
)
def test_a_program_knows_how_often_its_job_was_queued_again(
    dask_runner: DaskRunner, program: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    ended = dask_runner("-n", 2, *program, env=env)
    assert (ended.status, ended.stdout) == (0, f"{said}\n"), ended


def test_a_time_that_is_not_told_is_said(dask_runner: DaskRunner) -> None:
    ended = dask_runner("-n", 1, "--stop-before", 60, "-c", "print(1)")
    assert ended.status == 0, ended
    assert "--stop-before has no effect" in ended.stderr


BLAS = """
def threads():
    import ctypes
    from numpy._core import _multiarray_umath
    library = ctypes.CDLL(_multiarray_umath.__file__)
    return library.scipy_openblas_get_num_threads64_()

def started():
    # Python knows nothing of OpenBLAS's.
    import threading
    return len(os.listdir("/proc/self/task")) - threading.active_count()
"""


def test_openblas_has_one_thread_in_workers_and_its_usual_number_in_the_script(
    dask_runner: DaskRunner,
) -> None:
    code = f"""
{BLAS}
assert set(client.run(threads).values()) == {{1}}
assert threads() == len(os.sched_getaffinity(0))
assert "OPENBLAS_NUM_THREADS" not in os.environ
# They would spin just when the others start.
assert started() == 0
import numpy
ones = numpy.ones((1000, 1000))
ones @ ones
assert started() == threads() - 1
"""
    ended = dask_runner("-n", 2, "-c", BEGIN + code)
    assert ended.status == 0, ended


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one CPU, one thread")
@pytest.mark.parametrize(
    ("variable", "value", "workers", "script"),
    [
        ("OPENBLAS_NUM_THREADS", "2", 2, 2),
        ("OMP_NUM_THREADS", "2", 1, 2),
        (
            "DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON",
            "{'OPENBLAS_NUM_THREADS': 2}",
            2,
            None,
        ),
    ],
)
def test_openblas_has_as_many_threads_as_the_user_says(
    dask_runner: DaskRunner,
    variable: str,
    value: str,
    workers: int,
    script: int | None,
) -> None:
    code = f"""
{BLAS}
assert set(client.run(threads).values()) == {{{workers}}}
assert threads() == {script or len(os.sched_getaffinity(0))}
"""
    ended = dask_runner("-n", 2, "-c", BEGIN + code, env={variable: value})
    assert ended.status == 0, ended


def test_only_dask_itself_reads_yaml_with_libyaml(dask_runner: DaskRunner) -> None:
    code = """
def reads():
    import yaml
    return yaml.safe_load.__qualname__
assert reads() == "safe_load"
assert set(client.run(reads).values()) == {"safe_load"}
"""
    ended = dask_runner("-n", 2, "-c", BEGIN + code)
    assert ended.status == 0, ended


def test_workers_keep_the_configuration_that_their_nannies_do_without(
    dask_runner: DaskRunner,
) -> None:
    code = """
import dask
asked = ["worker.profile.enabled", "admin.tick.interval"]
asked += ["admin.system-monitor.interval"]
def look():
    return [dask.config.get("distributed." + one) for one in asked]
def tick(dask_worker):
    return dask_worker.periodic_callbacks["tick"].callback_time
def share(dask_worker):
    return dask_worker.config["distributed"] is dask.config.config["distributed"]
workers = client.run(look).values()
assert list(workers) == [look()] * 2, workers
# What a worker gets is not changed while the next nanny is made.
assert set(client.run(share, nanny=True).values()) == {False}
assert set(client.run(tick).values()) == {20.0}
assert set(client.run(tick, nanny=True).values()) == {200.0}
"""
    ended = dask_runner("-n", 2, "-c", BEGIN + code)
    assert ended.status == 0, ended


def test_each_ranks_worker_logs_into_a_file_of_its_own(dask_runner: DaskRunner) -> None:
    code = """
def look():
    import logging
    (file,) = logging.getLogger("distributed").handlers
    with open(file.baseFilename) as log:
        return file.baseFilename, log.read().count("Start worker at")
seen = client.run(look).values()
assert len({name for name, _ in seen}) == 3, seen
assert {count for _, count in seen} == {1}, seen
"""
    ended = dask_runner("-n", 3, "-c", BEGIN + code)
    assert ended.status == 0, ended


def test_no_process_asks_a_program_for_the_processors_name(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    # It took 20 ms in each of three processes, on the way to ready.
    asked, programs = tmp_path / "asked", tmp_path / "bin"
    programs.mkdir()
    (programs / "uname").write_text(f"#!/bin/sh\necho $@ >> '{asked}'\n")
    (programs / "uname").chmod(0o755)
    code = "print(sorted(client.get_versions()))"
    path = f"{programs}:{os.environ['PATH']}"
    ended = dask_runner("-c", BEGIN + code, env={"PATH": path})
    assert ended.stdout == "['client', 'scheduler', 'workers']\n"
    assert not asked.exists()
