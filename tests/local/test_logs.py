"""The logs of a running cluster, shown and followed, whatever dies meanwhile."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.local.serving import SECONDS, call, rank_0, serving, stopped
from tests.local.test_connect_ends import on_terminal
from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Has the worker of a name write into its log.
WRITE = """
import logging, sys
from distributed import Client
client = Client()

def write(text, times=1):
    for number in range(times):
        logging.getLogger("distributed.worker").warning("%s %d", text, number)

{then}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Run]:
    with serving("--name", "lab", "--nworkers", "2") as run:
        yield run
        assert stopped(run).status == 0


def connect(run: Run, then: str) -> None:
    ended = call(run.home, "connect", "lab", "-c", WRITE.format(then=then))
    assert (ended.returncode, ended.stderr) == (0, "")


def write(run: Run, worker: str, text: str, times: int = 1) -> None:
    name = repr(int(worker)) if worker.isdecimal() else repr(worker)
    how = f"pure=False, workers=[{name}]"
    connect(run, f"client.submit(write, {text!r}, {times}, {how}).result()")


def follow(run: Run, *words: str) -> Run:
    line = (str(DASK_RUNNER), "logs", *words, "-f")
    return Run(line, env={"HOME": str(run.home)})


def processes(text: str) -> set[str]:
    return {line.partition(" | ")[0] for line in text.splitlines()}


def test_the_logs_of_all_processes_are_shown_with_their_names(lab: Run) -> None:
    ended = call(lab.home, "logs")
    assert (ended.returncode, ended.stderr) == (0, "")
    agents = {name for name in processes(ended.stdout) if name.startswith("agent@")}
    assert processes(ended.stdout) - agents == {"scheduler", "0", "0-1", "1", "1-1"}
    assert len(agents) == 1
    (agent,) = agents
    for words in ((agent,), ("lab", agent)):
        alone = call(lab.home, "logs", *words)
        assert "distributed.nanny INFO" in alone.stdout
        assert "|" not in alone.stdout


def test_a_worker_has_its_own_lines(lab: Run) -> None:
    write(lab, "0-1", "of the second")
    own = call(lab.home, "logs", "lab", "0-1").stdout
    assert "of the second 0\n" in own
    assert re.findall(r"Worker name: +(\S+)", own) == ["0-1"]
    assert "of the second" not in call(lab.home, "logs", "lab", "0").stdout
    assert "0-1 | " in call(lab.home, "logs", "lab").stdout


@pytest.mark.parametrize("word", ["2", "0-2", "agent@nowhere", "hub"])
def test_no_such_process_is_an_error_that_lists_those_that_there_are(
    lab: Run, word: str
) -> None:
    ended = call(lab.home, "logs", "lab", word)
    assert (ended.returncode, ended.stdout) == (69, "")
    assert f"error: no process {word!r} in this cluster" in ended.stderr
    assert re.search(
        r"needed: one of scheduler, agent@\S+, 0, 0-1, 1, 1-1\n", ended.stderr
    )


def test_a_gap_in_a_log_that_is_shortened_too_fast_is_told(lab: Run) -> None:
    with follow(lab, "lab", "1-1") as followed:
        # Three times as much as a log may have, in a moment.
        write(lab, "1-1", "line of many " * 10, 15_000)
        write(lab, "1-1", "the last")
        followed.wait_for("the last 0\n")
        text = followed.stdout.partition("the last 0")[0]
        followed.signal(signal.SIGINT)
        assert followed.wait().status == 130
    numbers = [
        int(one) for one in re.findall(r"line of many  (\d+)$", text, re.MULTILINE)
    ]
    assert numbers[-1] == 14_999
    assert numbers == sorted(set(numbers))
    gaps = sum(later > one + 1 for one, later in pairwise([-1, *numbers]))
    assert text.count("[older lines are left out]") == gaps


def test_a_terminal_obeys_nothing_that_is_in_a_log(lab: Run, tmp_path: Path) -> None:
    write(lab, "1", "\x1b[31mred\x1b]0;mine\x07")
    with on_terminal(lab, tmp_path) as terminal:
        terminal.line("dask-runner logs lab 1; echo status $?")
        shown = terminal.wait_for("status 0")
    assert "\\x1b[31mred\\x1b]0;mine\\x07 0" in shown
    assert "\x1b[31m" in call(lab.home, "logs", "lab", "1").stdout


def test_who_reads_no_more_ends_it_quietly(lab: Run) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{DASK_RUNNER} logs lab | head -n 1"],
        env={"PATH": os.environ["PATH"], "HOME": str(lab.home)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stdout.startswith("scheduler | ")
    assert done.stderr == ""


def test_one_who_follows_and_stands_still_hinders_nobody(lab: Run) -> None:
    with follow(lab) as followed:
        followed.wait_for("scheduler | ")
        followed.signal(signal.SIGSTOP)
        write(lab, "0", "meanwhile " * 20, 5000)
        assert "meanwhile" in call(lab.home, "logs", "lab", "0").stdout
        assert call(lab.home, "list").returncode == 0
        followed.signal(signal.SIGCONT)
        followed.wait_for("meanwhile  4999\n")
        followed.signal(signal.SIGTERM)
        assert followed.wait().status == 143


# --- a part dies ------------------------------------------------------------------


def test_it_is_followed_to_the_clusters_end(dying: Run) -> None:
    with follow(dying) as followed:
        followed.wait_for("1 | ")
        assert stopped(dying).status == 0
        ended = followed.wait()
    assert ended.status == 0
    assert ended.stderr == "dask-runner: the cluster 'lab' has ended with status 0\n"


def test_a_worker_is_followed_over_its_death(dying: Run) -> None:
    with follow(dying, "lab", "1") as followed:
        followed.wait_for("Registered to")
        victim = dying.named("dask-worker")
        connect(
            dying,
            "import os, signal\n"
            "pid = client.submit(os.getpid, workers=[1]).result()\n"
            "os.kill(pid, signal.SIGKILL)\n",
        )
        until(lambda: followed.stdout.count("Start worker at") >= 2, SECONDS)
        assert victim
        stopped(dying)
        assert followed.wait().status == 0


@pytest.mark.parametrize("part", ["hub", "scheduler"])
def test_it_ends_with_a_cluster_that_is_lost(dying: Run, part: str) -> None:
    with follow(dying) as followed:
        followed.wait_for("1 | ")
        victim = rank_0(dying) if part == "hub" else dying.named("dask-scheduler")[0]
        os.kill(victim, signal.SIGKILL)
        ended = followed.wait()
    if part == "hub":
        assert ended.status == 69
        assert ended.stderr.count("error: ") == 1
        assert "error: the cluster 'lab' does not answer" in ended.stderr
    else:
        assert ended.status == 0
        assert "the cluster 'lab' has ended with status 69" in ended.stderr


def test_a_rank_that_is_lost_is_told_and_the_rest_is_followed(dying: Run) -> None:
    other = rank_of(dying, 1)
    with follow(dying) as followed:
        followed.wait_for("1 | ")
        os.kill(other, signal.SIGKILL)
        followed.wait_for("is lost, and its logs with it")
        write(dying, "0", "still here")
        followed.wait_for("still here 0\n")
        assert call(dying.home, "stop", "lab").returncode == 0
        assert followed.wait().status == 0


def rank_of(run: Run, rank: int) -> int:
    (found,) = (pid for pid, words in run.tops.items() if plays(pid, words, rank))
    return found


def plays(pid: int, words: str, rank: int) -> bool:
    if "-m dask_runner serve" not in words:
        return False
    environ = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return f"DASKRUNNER_RANK={rank}" in environ
